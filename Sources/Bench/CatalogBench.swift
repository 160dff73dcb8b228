import Catalog
import Foundation

/// A catalog of many runs: how long recording one takes, and how long crux-runs takes to list and filter all of them,
/// as a process that a person waits for.
struct CatalogBench {
    private static let runs = 10_000
    private static let rounds = 5
    private let folder = FileManager.default.temporaryDirectory.path + "/crux-bench-catalog-\(getpid())"

    func run() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let path = folder + "/" + CatalogPlace.fileName
        let database = try CatalogDatabase(CatalogPlace(path: path, isNamed: true), .create)
        let start = DispatchTime.now().uptimeNanoseconds
        for number in 0..<Self.runs / SyntheticRuns.chain.count {
            for run in SyntheticRuns.runs(number) { try database.record { run } }
        }
        let seconds = Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9
        let bytes = (try? FileManager.default.attributesOfItem(atPath: path))?[.size] as? Int ?? 0
        say(
            "catalog of \(Self.runs) runs, \(bytes >> 20) MiB: \(text(seconds / Double(Self.runs) * 1e3)) ms to record one, in a transaction of its own"
        )
        for (name, arguments) in Self.questions {
            let all = ["list", "--catalog", path, "--limit", "0", "--format", "json"] + arguments
            let answers = try (0..<Self.rounds).map { _ in try ChildProcess("crux-runs", all) }
            let found = (answers[0].summary["total"] as? Int) ?? -1
            say("  \(name): \(found) runs in \(text(answers.map(\.seconds).min() ?? 0)) s, the process included")
        }
    }

    private static let questions: [(String, [String])] = [
        ("all of them", []),
        (
            "by two figures that plans have from what they were made of",
            ["--where", "entropy.mask.top = 0.2 and accuracy > 0.3"]
        ),
        ("by a metric's best step, sorted", ["--where", "max(loss) > 0.5", "--sort", "max(loss)"]),
    ]
}

/// Chains of runs as a sweep leaves them: an ingest, its scores, plans, updates.
private enum SyntheticRuns {
    static let chain = ["ingest", "score", "plan", "update"]
    private static let keysOfRecipe = 90, countsOfRun = 25, metricsOfStep = 11, steps = 20

    static func runs(_ number: Int) -> [CatalogedRun] {
        chain.indices.map { index in
            var run = CatalogedRun(
                path: "/bench/sweep/\(number)/\(chain[index])", stage: chain[index], version: "bench", state: .finished)
            (run.manifestSHA256, run.fingerprint) = (digest(number, index), digest(number, index))
            run.attempts = [attempt(number, index)]
            if index > 0 {
                let name = chain[index - 1] + "/manifest.json"
                run.inputs = [CatalogedFile(path: name, bytes: 4096, digest: digest(number, index - 1))]
            }
            run.figures = (0..<countsOfRun).map { CatalogedFigure(.count, "count_\($0)", .integer(number + $0)) }
            fill(&run, number)
            return run
        }
    }

    private static func fill(_ run: inout CatalogedRun, _ number: Int) {
        switch run.stage {
        case "score": run.figures.append(CatalogedFigure(.measure, "accuracy", .real(Double(number % 100) / 100)))
        case "plan", "update":
            run.recipeName = "sweep"
            run.recipes = [recipe(number)]
            guard run.stage == "update" else { return }
            run.metrics = (1...steps).flatMap { step in
                (0..<metricsOfStep).map { metric in
                    let name = metric == 0 ? "loss" : "metric_\(metric)"
                    return CatalogedMetric(name: name, step: step, value: Double((number + step) % 100) / 100)
                }
            }
        default: return
        }
    }

    /// Every plan of a sweep has another.
    private static func recipe(_ number: Int) -> CatalogedRecipe {
        var values: [String: CatalogValue] = ["entropy.mask.top": .real([0.05, 0.1, 0.2, 0.5][number % 4])]
        for key in 0..<keysOfRecipe { values["section_\(key % 9).key_\(key)"] = .real(Double(number * key)) }
        return CatalogedRecipe(role: CatalogedRecipe.mainRole, sha256: digest(number, 99), values: values)
    }

    private static func attempt(_ number: Int, _ index: Int) -> CatalogedAttempt {
        CatalogedAttempt(
            rank: 0, tasks: 1, host: "bench", process: number,
            started: String(format: "2026-01-%02dT%02d:%02d:00.000Z", number % 28 + 1, number % 24, index),
            ended: nil, seconds: Double(number % 60), status: 0,
            command: ["crux-\(chain[index])", "--output", "sweep/\(number)"], folder: "/bench", scheduler: [:])
    }

    private static func digest(_ number: Int, _ index: Int) -> String { String(format: "%056d%08d", number, index) }
}
