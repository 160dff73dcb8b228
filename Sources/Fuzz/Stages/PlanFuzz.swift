import Foundation

@testable import Plan

/// Tables of crux-ingest and crux-score with wrong values, for every recipe.
final class PlanFuzz: FuzzTarget {
    static let name = "stage-plan", subject = "crux-plan on changed tables, each recipe"
    private let fuzzed: FuzzedRun
    private let recipes: [String]

    init(folder: String) throws {
        fuzzed = try FuzzedRun(folder: folder, changing: ["ingest", "score"])
        recipes = try FileManager.default.contentsOfDirectory(atPath: fixture("../recipes"))
            .filter { $0.hasSuffix(".yaml") }.sorted().map { String($0.dropLast(".yaml".count)) }
    }

    func run(_ bytes: UnsafeRawBufferPointer) throws {
        let (choice, rest) = bytes.choice
        try fuzzed.changed(by: rest) {
            try runStage(
                PlanCommand.self,
                fuzzed.planArguments(recipes[choice % recipes.count]) + ["--output", fuzzed.output])
        }
    }
}
