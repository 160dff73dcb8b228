import Catalog
import Foundation
import TestSupport

/// A catalog in a folder of its own, and runs to fill it with.
struct CatalogFixture {
    let folder: TemporaryDirectory
    let place: CatalogPlace

    init() throws {
        folder = try TemporaryDirectory()
        place = CatalogPlace(path: folder(CatalogPlace.fileName), isNamed: true)
    }

    func open(_ access: CatalogDatabase.Access = .create, patience: Double = 5) throws -> CatalogDatabase {
        try CatalogDatabase(place, access, patience: patience)
    }

    static func run(
        _ path: String, _ stage: String, made digest: String? = nil, from parents: [String] = [],
        _ change: (inout CatalogedRun) -> Void = { _ in }
    ) -> CatalogedRun {
        var run = CatalogedRun(path: path, stage: stage, version: "test", state: digest == nil ? .running : .finished)
        run.manifestSHA256 = digest
        run.fingerprint = digest ?? "unfinished"
        run.inputs = parents.map { CatalogedFile(path: "x/manifest.json", bytes: 1, digest: $0) }
        run.attempts = [
            CatalogedAttempt(
                rank: 0, tasks: 1, host: "here", process: 1, started: "2026-11-30T10:00:00.000Z", ended: nil,
                seconds: 2.5, status: 0, command: ["crux-\(stage)", "--output", "it's here"], folder: "/",
                scheduler: ["SLURM_JOB_ID": "7"])
        ]
        change(&run)
        return run
    }

    /// Two sweeps' plans of one scored dump, and a loop.
    static let chain: [CatalogedRun] = [
        run("/r/ingest", "ingest", made: "i"),
        run("/r/score", "score", made: "s", from: ["i"]) {
            $0.figures = [
                CatalogedFigure(.measure, "accuracy", .real(0.4)), CatalogedFigure(.count, "judged", .integer(10)),
            ]
        },
        plan("/r/plan-a", "pa", top: .real(0.2)), plan("/r/plan-b", "pb", top: .real(0.5)),
        run("/r/update", "update", made: "u", from: ["pa"]) {
            $0.metrics = [
                CatalogedMetric(name: "loss", step: 1, value: 3), CatalogedMetric(name: "loss", step: 2, value: 1),
            ]
        },
        run("/r/loop", "loop", made: "l") {
            $0.figures = [
                CatalogedFigure(.measure, "accuracy", .real(0.1)), CatalogedFigure(.setting, "threads", .integer(2)),
                CatalogedFigure(.setting, "reward", .text("auto")),
            ]
            $0.recipes = [
                CatalogedRecipe(
                    role: "recipe", sha256: "rl", values: ["advantage.whiten": .truth(true), "entropy.mask": .null]),
                CatalogedRecipe(role: "companion_critic", sha256: "rc", values: ["optimizer.lr": .real(0.001)]),
            ]
        },
    ]

    private static func plan(_ path: String, _ digest: String, top: CatalogValue) -> CatalogedRun {
        run(path, "plan", made: digest, from: ["i", "s"]) {
            $0.recipeName = "dapo"
            $0.recipes = [
                CatalogedRecipe(
                    role: "recipe", sha256: digest, values: ["entropy.mask.top": top, "name": .text("dapo")])
            ]
            $0.figures = [CatalogedFigure(.count, "kept", .integer(4)), CatalogedFigure(.setting, "top", .text("20"))]
        }
    }

    func filled() throws -> CatalogDatabase {
        let database = try open()
        for run in Self.chain { try database.record { run } }
        return database
    }
}
