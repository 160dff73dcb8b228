import ArgumentParser
import Foundation
import RunViews
import StageSupport

/// Two plans of one dump, side by side.
struct DiffCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff",
        abstract:
            "Compares two plans of one dump: which keys of the recipe differ, what only one keeps, and where advantages and weights part."
    )
    static let stage = "report"

    @Argument(help: "Directory of crux-plan.")
    var first: String

    @Argument(help: "Another one, of the same scores or of other scores of the same dump.")
    var second: String

    @Option(help: "Files to make, a row for each rollout that either plan keeps: OUTPUT.md and OUTPUT.csv.")
    var output: String?

    @OptionGroup var reading: ReadingOptions
    @OptionGroup var options: StageOptions

    func runStage(_ context: StageContext) throws -> StageSummary {
        guard options.share.rank == 0 else { return StageSummary(["left_to_rank_0": true]) }
        try requireApart(output, [first, second], options)
        let one = try PlanView(first, context), two = try PlanView(second, context)
        try requireOneDump(one, two)
        var sum = PlanDifference(), differing = 0, table = Self.emptyTable
        try PlanDifference.forEachRollout(one, two) {
            try context.checkInterruption()
            sum.add($0)
            differing += $0.differs ? 1 : 0
            if output != nil { table.add(Self.row($0)) }
        }
        if let output, !options.dryRun { try ReportFile.write(table.files(output), options) }
        let keys = RecipeDifference.keys(one.recipe, two.recipe)
        return reading.summary(
            text(sum, keys, differing: differing), fields(sum, keys, differing: differing))
    }

    private func requireOneDump(_ one: PlanView, _ two: PlanView) throws {
        let digests = [one, two].map { plan in
            Set(plan.manifest.inputs.filter { $0.path.hasPrefix("ingest/") }.compactMap(\.sha256))
        }
        guard digests[0] != digests[1] else { return }
        throw StageError(
            .invalidInput,
            "\(second): found a plan of another dump than \(first), expected one of the same crux-ingest directory. "
                + "Plan the same --input under both recipes.")
    }

    // MARK: table

    private static var emptyTable: TextTable {
        TextTable([
            "rollout_id", "first", "second", "kept_first", "kept_second", "kept_both", "advantage_first",
            "advantage_second", "signs_differ", "weight_first", "weight_second", "moved_weight",
        ])
    }

    private static func row(_ rollout: RolloutDifference) -> [TextTable.Cell] {
        [
            .text(rollout.rolloutID), .text(rollout.firstState), .text(rollout.secondState),
            .count(rollout.first.kept), .count(rollout.second.kept), .count(rollout.bothKeep),
            .number(rollout.first.advantageMean), .number(rollout.second.advantageMean), .count(rollout.signsDiffer),
            .number(rollout.first.weight), .number(rollout.second.weight), .number(rollout.movedWeight),
        ]
    }

    // MARK: summary

    private func text(_ sum: PlanDifference, _ keys: [RecipeDifference.Key], differing: Int) -> String {
        var figures = TextTable(["", "first", "second"])
        figures.add([.text("tokens kept"), .count(sum.first.kept), .count(sum.second.kept)])
        figures.add([
            .text("rollouts kept"), .count(sum.rolloutsOfBoth + sum.rolloutsOfFirst),
            .count(sum.rolloutsOfBoth + sum.rolloutsOfSecond),
        ])
        figures.add([
            .text("mean advantage of kept tokens"), .number(sum.first.advantageMean), .number(sum.second.advantageMean),
        ])
        figures.add([.text("sum of |weight|"), .number(sum.first.weight), .number(sum.second.weight)])
        figures.add([
            .text("effective share of kept tokens"), .number(sum.first.effectiveShare),
            .number(sum.second.effectiveShare),
        ])
        let recipes =
            keys.isEmpty
            ? ["recipes: the same"]
            : ["recipes differ:"]
                + keys.map { "  \(shown($0.name)): \(shown($0.first ?? "unset")), \(shown($0.second ?? "unset"))" }
        let both = [
            "rollouts: \(sum.rolloutsOfBoth) in both, \(sum.rolloutsOfFirst) only in the first, "
                + "\(sum.rolloutsOfSecond) only in the second; \(differing) differ in anything",
            "tokens: \(sum.bothKeep) kept by both, \(sum.first.kept - sum.bothKeep) only by the first, "
                + "\(sum.second.kept - sum.bothKeep) only by the second; overlap (Jaccard) "
                + (sum.overlap.map(short) ?? "unknown"),
            "of the tokens that both keep: \(sum.signsDiffer) have advantages of opposite sign, "
                + "\(sum.advantagesDiffer) other advantages (by \(short(sum.largestAdvantageDifference)) at most), "
                + "\(sum.weightsDiffer) other weights",
            "weight that moved between tokens: \(short(sum.movedWeight))",
        ]
        return (["first:  \(first)", "second: \(second)"] + recipes + ["", figures.aligned] + both).joined(
            separator: "\n")
            + "\n" + (output.map { "Rollout by rollout: \($0).md and \($0).csv\n" } ?? "")
    }

    private func fields(_ sum: PlanDifference, _ keys: [RecipeDifference.Key], differing: Int) -> [String: any Sendable]
    {
        func share(_ share: PlannedShare) -> [String: any Sendable] {
            [
                "kept_tokens": share.kept, "advantage_mean": share.advantageMean ?? NSNull(),
                "weight_size": share.weight, "effective_share": share.effectiveShare ?? NSNull(),
            ]
        }
        return [
            "output": output ?? "", "first": share(sum.first), "second": share(sum.second),
            "rollouts_both": sum.rolloutsOfBoth, "rollouts_only_first": sum.rolloutsOfFirst,
            "rollouts_only_second": sum.rolloutsOfSecond, "rollouts_differing": differing, "tokens_both": sum.bothKeep,
            "overlap": sum.overlap ?? NSNull(), "signs_differ": sum.signsDiffer,
            "advantages_differ": sum.advantagesDiffer, "weights_differ": sum.weightsDiffer,
            "largest_advantage_difference": Double(sum.largestAdvantageDifference), "moved_weight": sum.movedWeight,
            "recipe": keys.map {
                ["key": $0.name, "first": $0.first ?? NSNull(), "second": $0.second ?? NSNull()]
                    as [String: any Sendable]
            },
        ]
    }
}
