import Credit
import Formats
import Foundation
import Recipes
import StageSupport

/// Rows → credit → tables.
struct PlanRun {
    let directory: StageDirectory
    let recipe: Recipe
    let resolved: String
    let rollouts: ScoredRollouts
    let context: StageContext

    func run() throws -> StageSummary {
        let (eligible, dropped) = sift()
        let inputs = try eligible.map { try creditInput(rollouts.rows[$0]) }
        let plan = recipe.credit.assign(inputs, seed: context.options.seed)
        try plan.kept.forEach { try requireLogprobs(rollouts.rows[eligible[$0.index]]) }
        let allDropped = (dropped + plan.dropped.map { (eligible[$0.index], $0.reason) }).sorted { $0.0 < $1.0 }
        let report = PlanReport(plan: plan, inputs: inputs, dropped: allDropped.map(\.1), recipe: recipe)
        let outputs = try write(plan, eligible, allDropped)
        let manifest = try directory.finish(outputs: outputs, counts: report.counts.merging(rollouts.vocabulary.map { ["vocabulary": $0] } ?? [:]) { $1 })
        report.lines.forEach(context.say)
        plan.warnings.forEach(context.warn)
        return StageSummary(["output": directory.path, "counts": manifest.counts, "summary": report.summary])
    }

    /// Rows that can take part, and those that can't with their reason.
    private func sift() -> (eligible: [Int], dropped: [(Int, String)]) {
        var eligible: [Int] = [], dropped: [(Int, String)] = []
        for (index, row) in rollouts.rows.enumerated() {
            if row.score.verdict.hasPrefix("invalid_") { dropped.append((index, row.score.verdict)) } else if row.score.reward == nil {
                dropped.append((index, "no_reward"))
            } else { eligible.append(index) }
        }
        return (eligible, dropped)
    }

    private func creditInput(_ row: (rollout: RolloutRow, score: ScoreRow)) throws -> CreditInput {
        if recipe.credit.needsEntropy, row.score.entropy == nil {
            throw StageError(
                .invalidInput,
                "\(rollouts.directory): rollout '\(row.rollout.rolloutID)': found no entropy (evidence '\(row.rollout.evidence)'), expected it for the recipe's "
                    + "entropy section. Score again with --checkpoint DIR, or take a recipe without entropy.")
        }
        return CreditInput(
            groupID: row.rollout.groupID, reward: Double(row.score.reward ?? 0), correct: row.score.correct,
            isTruncated: row.rollout.finishReason == "length", mask: row.rollout.lossMask, entropy: row.score.entropy ?? [])
    }

    private func requireLogprobs(_ row: (rollout: RolloutRow, score: ScoreRow)) throws {
        func fail(_ what: String, _ why: String, _ remedy: String) -> StageError {
            StageError(.invalidInput, "\(rollouts.directory): rollout '\(row.rollout.rolloutID)': found no \(what), expected it for \(why). \(remedy)")
        }
        if recipe.objective.readsOldLogprobs, row.score.oldLogprobs == nil {
            throw fail("old_logprobs", "objective \(type(of: recipe.objective).name)", "Score again with --checkpoint DIR, the policy that sampled.")
        }
        if recipe.kl.isOn, row.score.referenceLogprobs == nil {
            throw fail("reference_logprobs", "kl.coef \(recipe.kl.coef)", "Score again with --reference DIR.")
        }
    }

    private func write(_ plan: CreditPlan, _ eligible: [Int], _ dropped: [(Int, String)]) throws -> [Manifest.File] {
        let metadata = directory.tableMetadata(
            recipeDigest: SHA256Digest.of(resolved), evidence: Set(plan.kept.map { rollouts.rows[eligible[$0.index]].rollout.evidence }).sorted())
        var table = try ArrowTableWriter(path: directory.file("plan.arrow"), table: Tables.plan, metadata: metadata)
        for credit in plan.kept { try table.append(planRow(credit, rollouts.rows[eligible[credit.index]])) }
        try table.finish()
        var rest = try ArrowTableWriter(path: directory.file("dropped.arrow"), table: Tables.dropped, metadata: metadata)
        for (index, reason) in dropped {
            var row = DroppedRow()
            row.rolloutID = rollouts.rows[index].rollout.rolloutID
            row.groupID = rollouts.rows[index].rollout.groupID
            row.reason = reason
            try rest.append(row)
        }
        try rest.finish()
        try AtomicFile.write(resolved, to: directory.file("recipe.resolved.json"))
        return [
            try Manifest.describe("plan.arrow", in: directory.path, rows: plan.kept.count),
            try Manifest.describe("dropped.arrow", in: directory.path, rows: dropped.count),
            try Manifest.describe("recipe.resolved.json", in: directory.path),
        ]
    }

    private func planRow(_ credit: TokenCredit, _ source: (rollout: RolloutRow, score: ScoreRow)) -> PlanRow {
        var row = PlanRow()
        row.rolloutID = source.rollout.rolloutID
        row.groupID = source.rollout.groupID
        row.tokenIDs = source.rollout.tokenIDs
        row.lossMask = source.rollout.lossMask
        row.advantages = credit.advantages.map { Float($0) }
        row.entropyMask = credit.entropyMask
        row.tokenWeights = credit.weights.map { Float($0) }
        row.oldLogprobs = source.score.oldLogprobs ?? [Float](repeating: 0, count: row.tokenIDs.count)
        row.referenceLogprobs = source.score.referenceLogprobs
        row.klWeights = recipe.kl.isOn ? credit.unmaskedWeights.map { Float($0) } : nil
        row.temperature = source.rollout.temperature
        row.step = Int32(credit.step)
        row.reward = Float(credit.reward)
        return row
    }
}
