import Credit
import Formats
import Foundation
import Recipes
import StageSupport

/// Rows → credit → tables.
struct PlanRun {
    let rollouts: ScoredRollouts
    let writer: PlanWriter

    func run() throws -> StageSummary {
        let needs = RowRequirements(recipe: writer.recipe, directory: rollouts.directory)
        let (eligible, dropped) = rollouts.sift()
        let rows = eligible.map { rollouts.rows[$0] }
        let inputs = try rows.map { try needs.creditInput($0) }
        let plan = writer.recipe.credit.assign(inputs, seed: writer.context.options.seed)
        try plan.kept.forEach { try needs.requireLogprobs(rows[$0.index]) }
        let allDropped = (dropped + plan.dropped.map { (eligible[$0.index], $0.reason) }).sorted { $0.0 < $1.0 }
        let versions = Set(plan.kept.map { rows[$0.index].rollout.policyVersion }).sorted()
        let files = writer.recipe.credit.filter.resamples ? [try writer.writeResample(plan, rows)] : []
        return try writer.write(
            plan, rows: rows, inputs: inputs, dropped: allDropped.map { (rollouts.rows[$0.0].rollout, $0.1) }, extra: files,
            lines: versions.count > 1 ? ["policy versions: \(versions.count), from \(versions.first ?? "") to \(versions.last ?? "")"] : [],
            summary: ["policy_versions": versions.count])
    }
}

/// Writes a plan's tables and says what a researcher judges it by.
struct PlanWriter {
    let directory: StageDirectory
    let recipe: Recipe
    let resolved: String
    let vocabulary: Int?
    let context: StageContext

    /// `rows` and `inputs` are what the plan's indices point into. `counts`, `lines`, `summary` and `extra` files are a method's own;
    /// `showsCredit` is false where there is no credit yet to report.
    func write(
        _ plan: CreditPlan, rows: [ScoredRollout], inputs: [CreditInput], dropped: [(rollout: RolloutRow, reason: String)], extra: [Manifest.File] = [],
        counts: [String: Int] = [:], lines: [String] = [], summary: [String: any Sendable] = [:], showsCredit: Bool = true
    ) throws -> StageSummary {
        let report = PlanReport(plan: plan, inputs: inputs, dropped: dropped.map(\.reason), recipe: recipe)
        let outputs = try tables(plan, rows, dropped) + extra
        let all = report.counts.merging(counts) { $1 }.merging(vocabulary.map { ["vocabulary": $0] } ?? [:]) { $1 }
        let manifest = try directory.finish(outputs: outputs, counts: all)
        ((showsCredit ? report.lines : []) + lines).forEach(context.say)
        plan.warnings.forEach(context.warn)
        return StageSummary(["output": directory.path, "counts": manifest.counts, "summary": report.summary.merging(summary) { $1 }])
    }

    /// Prompts of groups that gave no contrast, as crux-rollout takes them: what dynamic sampling would sample again.
    func writeResample(_ plan: CreditPlan, _ rows: [ScoredRollout]) throws -> Manifest.File {
        var first: [String: RolloutRow] = [:]
        for row in rows where first[row.rollout.groupID] == nil { first[row.rollout.groupID] = row.rollout }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        let lines = try plan.resample.compactMap { first[$0] }.map { String(decoding: try encoder.encode(PromptLine($0)), as: UTF8.self) + "\n" }
        try AtomicFile.write(lines.joined(), to: directory.file("resample.jsonl"))
        return try Manifest.describe("resample.jsonl", in: directory.path, rows: lines.count)
    }

    private func tables(_ plan: CreditPlan, _ rows: [ScoredRollout], _ dropped: [(rollout: RolloutRow, reason: String)]) throws -> [Manifest.File] {
        let metadata = directory.tableMetadata(
            recipeDigest: SHA256Digest.of(resolved), evidence: Set(plan.kept.map { rows[$0.index].rollout.evidence }).sorted())
        var table = try ArrowTableWriter(path: directory.file("plan.arrow"), table: Tables.plan, metadata: metadata)
        for credit in plan.kept { try table.append(planRow(credit, rows[credit.index])) }
        try table.finish()
        var rest = try ArrowTableWriter(path: directory.file("dropped.arrow"), table: Tables.dropped, metadata: metadata)
        for (rollout, reason) in dropped {
            var row = DroppedRow()
            (row.rolloutID, row.groupID, row.reason) = (rollout.rolloutID, rollout.groupID, reason)
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

    private func planRow(_ credit: TokenCredit, _ source: ScoredRollout) -> PlanRow {
        var row = PlanRow()
        row.rolloutID = source.rollout.rolloutID
        row.groupID = credit.groupID
        row.tokenIDs = source.rollout.tokenIDs
        row.lossMask = credit.mask
        row.advantages = credit.advantages.map { Float($0) }
        row.entropyMask = credit.entropyMask
        row.tokenWeights = credit.weights.map { Float($0) }
        row.oldLogprobs = source.score.oldLogprobs ?? [Float](repeating: 0, count: row.tokenIDs.count)
        row.referenceLogprobs = recipe.objective.reference == .process ? source.score.processReferenceLogprobs : source.score.referenceLogprobs
        row.returns = credit.returns?.map { Float($0) }
        row.values = source.score.values
        row.pair = credit.pair.map { Int32($0) }
        row.klWeights = recipe.kl.isInLoss ? credit.unmaskedWeights.map { Float($0) } : nil
        row.temperature = source.rollout.temperature
        row.step = Int32(credit.step)
        row.reward = Float(credit.reward)
        return row
    }
}

/// A line of crux-rollout's prompt file.
private struct PromptLine: Encodable {
    let groupId: String
    let prompt: String
    let promptTokenIds: [Int32]
    let referenceAnswer: String
    let dataSource: String

    init(_ row: RolloutRow) {
        (groupId, prompt, referenceAnswer, dataSource) = (row.groupID, row.prompt, row.referenceAnswer, row.dataSource)
        promptTokenIds = Array(row.tokenIDs.prefix(row.lossMask.firstIndex(of: true) ?? row.tokenIDs.count))
    }
}
