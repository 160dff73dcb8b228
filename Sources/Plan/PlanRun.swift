import Arrow
import Credit
import Files
import Formats
import Foundation
import Recipes
import Scratch
import StageSupport

/// Rows → credit → tables, in passes over the dump: what grows with it is kept in files that go with the run.
struct PlanRun {
    let rollouts: ScoredRollouts
    let recipe: Recipe
    let passes: any Passes
    let context: StageContext

    init(rollouts: ScoredRollouts, recipe: Recipe, passes: (any Passes)? = nil, context: StageContext) {
        (self.rollouts, self.recipe, self.context) = (rollouts, recipe, context)
        self.passes = passes ?? OwnPasses(threads: context.threads)
    }

    /// Everything but the rows' tokens.
    func buildPlan(_ space: ScratchSpace) throws -> (firstPass: FirstPass, tokens: DumpTokens, plan: CreditPlan) {
        let needs = RowRequirements(
            recipe: recipe, directory: rollouts.directory, endTokens: rollouts.endTokens)
        let firstPass = try FirstPass(rollouts, needs, space, passes)
        let tokens = try DumpTokens(rollouts, needs, eligible: firstPass.eligible, space, passes)
        do {
            return (firstPass, tokens, try recipe.credit.buildPlan(firstPass.facts, tokens, seed: context.options.seed))
        } catch let refusal where refusal is CreditRefusal || refusal is MissingComponent {
            throw StageError(.invalidInput, "\(rollouts.directory): \(refusal)")
        }
    }

    func run(_ writer: PlanWriter) throws -> StageSummary {
        let (firstPass, tokens, plan) = try buildPlan(ScratchSpace(folder: writer.directory.path))
        try tokens.requireLogprobs(plan.kept, lacking: firstPass.lackingLogprobs)
        try writer.requireDecided(plan, width: widths(firstPass))
        let versions = firstPass.labels.versions(plan),
            dropped = DroppedFromDump(firstPass: firstPass, plan: plan, rollouts: rollouts)
        let files =
            recipe.credit.filter.resamples
            ? [try writer.writeResample(plan.resample.count) { try resample(plan, firstPass, $0) }] : []
        return try writer.write(
            plan, tokens, facts: firstPass.facts, dropped: dropped, evidence: firstPass.labels.evidence(plan),
            extra: files,
            lines: PolicyVersions.line(Array(versions.keys)),
            summary: ["policy_versions": versions.count])
    }

    /// How many best log-probabilities the intervals of a row of the plan rest on.
    func widths(_ firstPass: FirstPass) -> (Int32) throws -> Int32? {
        let reader = RowReader(rollouts, columns: RowColumns(scores: ["rollout_id", "evidence_top_k"]))
        return { row in try reader.read([Int(firstPass.eligible[Int(row)])]) { $0.score.evidenceTopK }[0] }
    }

    /// What would be kept and why, without a file.
    func preview() throws -> StageSummary {
        let (firstPass, _, plan) = try buildPlan(.temporary),
            dropped = DroppedFromDump(firstPass: firstPass, plan: plan, rollouts: rollouts)
        let report = PlanReport(
            plan: plan, tally: nil, trainer: rollouts.trainer, facts: firstPass.facts, dropped: dropped.counts,
            recipe: recipe)
        report.lines.forEach(context.say)
        plan.warnings.forEach(context.warn)
        if let undecided = try UndecidedMask(plan, recipe.credit.mask, widths(firstPass)) {
            context.warn("the plan would be refused: " + undecided.refusal)
        }
        return EmptyPlan.summary(report.counts, context, ["counts": report.counts, "summary": report.summary])
    }

    /// The first rollout of each group that gave no contrast.
    private func resample(_ plan: CreditPlan, _ firstPass: FirstPass, _ body: (RolloutRow) throws -> Void) throws {
        let columns: Set<String> = [
            "rollout_id", "group_id", "prompt", "token_ids", "loss_mask", "reference_answer", "data_source",
        ]
        let reader = RowReader(rollouts, columns: RowColumns(rollouts: columns)), facts = firstPass.facts
        try facts.space.forEach(plan.resample.indices) { index in
            let first = facts.groups[Int(plan.resample[index])][0]
            _ = try reader.read([Int(firstPass.eligible[Int(first)])]) { try body($0.rollout) }
        }
    }
}

/// Where the writer gets the plan's rows from, with their tokens.
protocol PlanRowSource: Sendable {
    func planned(_ rows: ArraySlice<Int32>) throws -> [(ScoredRollout, CreditInput)]
}

/// Writes a plan's tables and says what a researcher judges it by.
struct PlanWriter {
    let directory: StageDirectory
    let recipe: Recipe
    let resolved: String
    let vocabulary: Int?
    let trainer: TrainerLogprobs
    let context: StageContext

    /// `facts` describe all rows that were judged. `counts`, `lines`, `summary` and `extra` files are a method's own.
    func write(
        _ plan: CreditPlan, _ rows: any PlanRowSource, facts: RolloutFacts, dropped: some DroppedList,
        evidence: [String: Int], extra: [Manifest.File] = [],
        counts: [String: Int] = [:], lines: [String] = [], summary: [String: any Sendable] = [:]
    ) throws -> StageSummary {
        let (table, tally) = try writePlan(plan, rows, evidence.keys.sorted())
        let report = PlanReport(
            plan: plan, tally: tally, trainer: trainer, facts: facts, dropped: dropped.counts, recipe: recipe)
        let outputs = [table] + (try writeRest(dropped, evidence.keys.sorted())) + extra
        let grades = Dictionary(uniqueKeysWithValues: evidence.map { ("evidence_\($0.key)", $0.value) })
        let all = report.counts.merging(counts) { $1 }.merging(vocabulary.map { ["vocabulary": $0] } ?? [:]) { $1 }
            .merging(grades) { $1 }
        let manifest = try directory.finish(outputs: outputs, counts: all, measures: report.measures)
        (report.lines + lines).forEach(context.say)
        (plan.warnings + plan.closingWarnings(tally.staleness) + report.warnings).forEach(context.warn)
        let fields: [String: any Sendable] = [
            "output": directory.path, "counts": manifest.counts, "summary": report.summary.merging(summary) { $1 },
        ]
        return EmptyPlan.summary(manifest.counts, context, fields)
    }

    /// The tables of a plan with jobs alone: nothing to learn from yet.
    func writeJobs(dropped: some DroppedList, files: [Manifest.File], counts: [String: Int], lines: [String]) throws
        -> StageSummary
    {
        var table = try ArrowTableWriter(
            path: try directory.writing("plan.arrow"), table: Tables.plan, metadata: metadata([]))
        let outputs = [Manifest.File("plan.arrow", try table.finish())] + (try writeRest(dropped, [])) + files
        var all = ["kept": 0, "steps": 0, "trainable_tokens": 0, "kept_tokens": 0].merging(counts) { $1 }.merging(
            PlanReport.counts(dropped: dropped.counts)
        ) { $1 }
        all["vocabulary"] = vocabulary
        let manifest = try directory.finish(outputs: outputs, counts: all)
        lines.forEach(context.say)
        return EmptyPlan.summary(manifest.counts, context, ["output": directory.path, "counts": manifest.counts])
    }

    /// An entropy that is only known as an interval may lie on either side of a threshold: to be counted, and not to be
    /// too many. `width`: how many best log-probabilities the intervals of a row of the plan rest on, where it is
    /// known.
    func requireDecided(_ plan: CreditPlan, width: (Int32) throws -> Int32?) throws {
        guard let undecided = try UndecidedMask(plan, recipe.credit.mask, width) else { return }
        throw StageError(.invalidInput, directory.path + ": " + undecided.refusal)
    }

    /// Prompts of groups that gave no contrast, as crux-rollout takes them: what dynamic sampling would sample again.
    func writeResample(_ count: Int, _ forEachRow: ((RolloutRow) throws -> Void) throws -> Void) throws -> Manifest.File
    {
        let name = "resample.jsonl", encoder = JSONEncoder(),
            file = try AtomicFile(try directory.writing(name), digests: true)
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        try forEachRow { try file.write(String(decoding: try encoder.encode(PromptLine($0)), as: UTF8.self) + "\n") }
        return Manifest.File(name, try file.finish(rows: count))
    }

    private func metadata(_ evidence: [String]) -> [String: String] {
        directory.tableMetadata(recipeDigest: SHA256Digest.of(resolved), evidence: evidence)
    }

    // MARK: plan.arrow

    /// Batches are made on several threads and written in order.
    private func writePlan(_ plan: CreditPlan, _ rows: any PlanRowSource, _ evidence: [String]) throws -> (
        Manifest.File, PlanTally
    ) {
        var
            table = try ArrowTableWriter(
                path: try directory.writing("plan.arrow"), table: Tables.plan, metadata: metadata(evidence)),
            tally = PlanTally()
        let batches = plan.batches, builders = IdlePool<ArrowBatchBuilder<PlanRow>>(),
            written = IdlePool<ArrowBatchBytes>()
        try parallelInOrder(batches.count, threads: context.threads, waiting: 1) { index in
            var builder = builders.take() ?? ArrowBatchBuilder(Tables.plan)
            if let written = written.take() { builder.reuse(written) }
            let batch = try batch(plan, batches[index], rows, &builder)
            builders.give(builder)
            return batch
        } consume: { index, batch in
            try context.checkInterruption()
            try table.append(batch.bytes)
            written.give(batch.bytes)
            tally.add(batch.tally)
            plan.facts.space.releasePages(after: batches[index].count)
        }
        return (Manifest.File("plan.arrow", try table.finish()), tally)
    }

    private func batch(
        _ plan: CreditPlan, _ positions: Range<Int>, _ rows: any PlanRowSource,
        _ builder: inout ArrowBatchBuilder<PlanRow>
    ) throws -> (bytes: ArrowBatchBytes, tally: PlanTally) {
        let maker = PlanRowMaker(recipe: recipe, directory: directory.path)
        var tally = PlanTally()
        try plan.forEachCredit(positions, rows) { credit, source in
            builder.append(try maker.row(credit, source))
            tally.add(credit, correct: plan.facts.rows[credit.index].correct)
            if recipe.credit.excludesEndTokens { tally.addLeftOut(source.rollout.lossMask, credit.mask) }
        }
        return (try builder.take(.none), tally)
    }

    // MARK: other files

    private func writeRest(_ dropped: some DroppedList, _ evidence: [String]) throws -> [Manifest.File] {
        let name = "dropped.arrow", recipeName = "recipe.resolved.json"
        var rest = try ArrowTableWriter(
            path: try directory.writing(name), table: Tables.dropped, metadata: metadata(evidence))
        try dropped.forEach { try rest.append($0) }
        return [
            Manifest.File(name, try rest.finish()),
            Manifest.File(recipeName, try AtomicFile.write(resolved, to: try directory.writing(recipeName))),
        ]
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
