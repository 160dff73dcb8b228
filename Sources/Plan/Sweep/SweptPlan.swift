import Credit
import Formats
import Recipes
import Scratch
import StageSupport

/// What a sweep tells of one setting's plan: the figures that the plan made alone would report.
struct SweptPlan: Sendable {
    let values: [String]
    let counts: [String: Int]
    /// Of the mask, by scope.
    let thresholds: [Double]
    let tally: PlanTally
    /// nil where nobody knows the trainer's log-probabilities.
    let effectiveShare: Double?
    let kept: KeptBits
    let warnings: [String]
    /// Why crux-plan would not make this plan; nil where it would.
    let refusal: String?

    /// Of the trainable tokens; nil where there are none.
    var shareKept: Double? {
        guard let all = counts["trainable_tokens"], all > 0 else { return nil }
        return Double(counts["kept_tokens"] ?? 0) / Double(all)
    }

    /// Makes the plan as far as its figures go: nothing is written.
    init(
        _ setting: SweepSetting, _ rollouts: ScoredRollouts, _ passes: some Passes, _ context: StageContext
    ) throws {
        let run = PlanRun(rollouts: rollouts, recipe: setting.recipe, passes: passes, context: context)
        let (firstPass, tokens, plan) = try run.buildPlan(.temporary)
        try tokens.requireLogprobs(plan.kept, lacking: firstPass.lackingLogprobs)
        (tally, kept) = try Self.measure(
            plan, tokens, firstPass, PlanRowMaker(recipe: setting.recipe, directory: rollouts.directory), passes,
            context)
        let report = PlanReport(
            plan: plan, tally: tally, trainer: rollouts.trainer, facts: firstPass.facts,
            dropped: DroppedFromDump(firstPass: firstPass, plan: plan, rollouts: rollouts).counts,
            recipe: setting.recipe)
        (values, counts, thresholds) = (setting.values, report.counts, plan.thresholds)
        effectiveShare = report.measures["effective_share"]
        warnings = plan.warnings + plan.closingWarnings(tally.staleness) + report.warnings
        refusal =
            plan.kept.isEmpty
            ? "the plan keeps none of its rollouts"
            : try UndecidedMask(plan, setting.recipe.credit.mask, run.widths(firstPass))?.refusal
    }

    /// The pass that writes a plan, without the writing.
    private static func measure(
        _ plan: CreditPlan, _ tokens: DumpTokens, _ firstPass: FirstPass, _ maker: PlanRowMaker, _ passes: some Passes,
        _ context: StageContext
    ) throws -> (PlanTally, KeptBits) {
        var tally = PlanTally()
        let kept = try KeptBits(firstPass), batches = plan.batches
        try passes.inOrder(batches.count) { index in
            var part = PlanTally(), marks: [(Int32, [Bool])] = []
            try plan.forEachCredit(batches[index], tokens) { credit, source in
                _ = try maker.row(credit, source)
                part.add(credit, correct: plan.facts.rows[credit.index].correct)
                marks.append((Int32(credit.index), zip(credit.entropyMask, credit.mask).map { $0 && $1 }))
            }
            return (part, marks)
        } _: { index, batch in
            try context.checkInterruption()
            tally.add(batch.0)
            for (row, marks) in batch.1 { kept.add(row: row, marks) }
            plan.facts.space.releasePages(after: batches[index].count)
        }
        return (tally, kept)
    }
}
