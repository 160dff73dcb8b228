import ArgumentParser
import RunViews
import StageSupport

/// One rollout through the directories of a run.
struct TraceCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "trace",
        abstract:
            "Follows a rollout through ingest, score, plan, jobs and update: in which file and row it stands, or why it was left out."
    )
    static let stage = "report"

    @Argument(help: "rollout_id of the rollout, also of one that was rejected or dropped.")
    var rolloutID: String

    @Option(help: "Directory of crux-ingest.")
    var input: String

    @Option(help: "Directory of crux-score that was made of --input.")
    var scores: String?

    @Option(help: "Directory of crux-plan; may be repeated.")
    var plan: [String] = []

    @Option(help: "Directory of crux-update that was made of the last --plan.")
    var update: String?

    @Option(help: "Jobs folder of an expansion's first plan.")
    var jobs: String?

    @OptionGroup var reading: ReadingOptions
    @OptionGroup var options: StageOptions

    func validate() throws {
        guard update == nil || !plan.isEmpty else {
            throw ValidationError("--update needs --plan, which it was made of.")
        }
    }

    /// Exit code 3 where no stage knows it.
    func runStage(_ context: StageContext) throws -> StageSummary {
        guard options.share.rank == 0 else { return StageSummary(["left_to_rank_0": true]) }
        let steps = try self.steps(RolloutTrace(rolloutID: rolloutID, context: context), context)
        let isKnown = steps.contains { $0.isKnown }
        if !isKnown {
            context.report(
                error: "\(input): found no rollout '\(shown(rolloutID))', expected the rollout_id of one. "
                    + "The column rollout_id of rollouts-*.arrow and rejected.arrow has them.", .invalidInput)
        }
        let fields = steps.map { step in step.fields.merging(["stage": step.stage]) { own, _ in own } }
        return reading.summary(
            text(steps), status: isKnown ? .done : .invalidInput, ["rollout_id": rolloutID, "trace": fields])
    }

    private func steps(_ trace: RolloutTrace, _ context: StageContext) throws -> [TraceStep] {
        let plans = try plan.map { try PlanView($0, context) }
        return try trace.ingest(input) + (scores.map { try trace.score($0, of: input) } ?? [])
            + plans.flatMap { try trace.plan($0) } + (jobs.map { try trace.jobs($0) } ?? [])
            + (update.flatMap { update in try plans.last.map { try trace.update(update, $0) } } ?? [])
    }

    /// Stages in a column of their own.
    private func text(_ steps: [TraceStep]) -> String {
        let width = steps.map(\.stage.count).max() ?? 0
        return "rollout \(shown(rolloutID))\n"
            + steps.map { $0.stage.padding(toLength: width, withPad: " ", startingAt: 0) + "  " + $0.text + "\n" }
            .joined()
    }
}
