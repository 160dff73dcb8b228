import Arrow
import Files
import Formats
import Foundation
import FrameMeasures
import Models
import Rewards
import StageSupport

/// Runs the ingest files, then — whichever task comes last — finishes the directory.
struct ScoreRun {
    let directory: StageDirectory
    let ingest: String
    let manifest: Manifest
    let names: [String]
    let files: DumpFiles
    let judge: Judge
    let policies: ScoringModels
    /// What a teacher reads.
    let prompts: TeacherPrompts?
    let wanted: DistributionColumns
    /// Whether distributions go over the vocabulary, whatever a row says could be drawn.
    let ignoresSupport: Bool
    let ignoresRoutes: Bool
    let memory: PlaneMemory
    let context: StageContext

    private var outputs: [String] { names.map { "scores-" + $0.dropFirst("rollouts-".count) } }

    func run() throws -> StageSummary {
        let work = WorkList<ScoreRecord>(directory, outputs: outputs)
        let progress = ProgressLine(context, total: names.count, unit: "shards")
        let failures = try work.run(context) { index, output in
            defer {
                files.letGo()
                progress.advance()
            }
            return try scoreFile(names[index], output: output)
        }
        guard failures.isEmpty else {
            // Not one file could be scored: that is the input's fault as a whole, a wrong checkpoint for example.
            let status: ExitStatus = failures.count == names.count ? .invalidInput : .someShardsFailed
            return StageSummary(status: status, ["output": directory.path, "failed_shards": failures.map(\.file)])
        }
        return try directory.exclusively(context) { try finish(work) }
    }

    /// A chunk of its rows after the other, so that memory doesn't depend on the file's length.
    private func scoreFile(_ name: String, output: String) throws -> (ScoreRecord, WrittenFile) {
        try manifest.verify(name, in: ingest, context.options)
        let rollouts = try ArrowTableReader(path: ingest + "/" + name, table: Tables.rollouts)
        let scorer = LogitsScorer(
            files: files, checkpoint: policies.checkpoint, wanted: wanted, memory: memory, measures: try measures(name))
        let evidenceTable = EvidenceTable(
            path: output, table: Tables.scores.adding(wanted.columns),
            evidenceOf: { $0.evidence ?? EntropySource.none.rawValue }
        ) {
            directory.tableMetadata(evidence: $0.sorted())
        }
        var record = ScoreRecord(), table = EvidenceTableWriter(evidenceTable), chunk: [RolloutRow] = [], tokens = 0
        try rollouts.forEachRow { row in
            var row = row
            if ignoresSupport { row.support = nil }
            if ignoresRoutes { row.routes = nil }
            chunk.append(row)
            tokens += row.tokenIDs.count
            guard tokens >= wanted.chunkTokens || chunk.count >= Self.chunkRows else { return }
            try score(chunk, scorer, &record, &table)
            (chunk, tokens) = ([], 0)
        }
        if !chunk.isEmpty { try score(chunk, scorer, &record, &table) }
        return (record, try table.finish())
    }

    /// What ingest measured of a file's rollouts; nil where it was not asked to, or more is wanted than it measures.
    private func measures(_ name: String) throws -> MeasuredFrames? {
        let measures = MeasuredFrames.name(name)
        guard wanted == DistributionColumns(), !ignoresSupport,
            manifest.outputs.contains(where: { $0.path == measures })
        else {
            return nil
        }
        try manifest.verify(measures, in: ingest, context.options)
        return try MeasuredFrames(path: ingest + "/" + measures)
    }

    private static let chunkRows = 1 << 13

    private func score(
        _ rows: [RolloutRow], _ scorer: LogitsScorer, _ record: inout ScoreRecord,
        _ table: inout EvidenceTableWriter<ScoreRow>
    ) throws {
        try context.checkInterruption()
        let frames = try scorer.score(rows, threads: context.threads), models = try policies.score(rows, prompts),
            outcomes = try judge.judge(rows)
        for (index, row) in rows.enumerated() {
            let logprobs = OldLogprobs(row, frames[index], models[index].policy)
            let scored = score(row, frames[index], models[index], outcomes[index], logprobs)
            record.add(row, scored, frames[index], models[index].policy, logprobs.source)
            if models[index].policy != nil { record.addRoutes(row) }
            if let kind = models[index].teacherPrompt { record.teacherPrompts[kind.rawValue, default: 0] += 1 }
            record.excludingStates += models[index].excludingStates
            try table.append(scored)
        }
    }

    private func score(
        _ row: RolloutRow, _ frame: FrameScores, _ models: ModelScores, _ outcome: RewardOutcome,
        _ logprobs: OldLogprobs
    ) -> ScoreRow {
        var scored = ScoreRow()
        scored.rolloutID = row.rolloutID
        scored.setVerdict(outcome.verdict)
        (scored.reward, scored.correct, scored.extracted) = (outcome.reward, outcome.correct, outcome.extracted)
        scored.rewards = NamedRewards.text(NamedRewards.ofExtras(row.extras).merging(outcome.rewards) { $1 })
        scored.values = models.values ?? frame.values
        scored.referenceLogprobs = models.referenceLogprobs ?? frame.referenceLogprobs
        scored.teacherLogprobs = models.teacherLogprobs ?? frame.teacherLogprobs
        scored.teacherPrompt = models.teacherPrompt?.rawValue
        scored.processLogprobs = models.processLogprobs
        scored.processReferenceLogprobs = models.processReferenceLogprobs
        scored.referenceKL = models.referenceKL
        scored.expectedQ = models.expectedQ
        scored.evidence = EntropySource.none.rawValue
        if let invalid = frame.invalid {
            scored.setVerdict(invalid)
            return scored
        }
        fillEntropy(&scored, row, frame, models.policy)
        (scored.sumPSquared, scored.topkTokenIDs, scored.topkLogprobs) = (
            frame.sumPSquared, frame.topkTokenIDs, frame.topkLogprobs
        )
        scored.oldLogprobs = logprobs.values
        scored.refuseNotFinite(row.lossMask)
        return scored
    }

    /// Exact from the dump, exact from the checkpoint, as an interval from the dump: in this order.
    private func fillEntropy(
        _ scored: inout ScoreRow, _ row: RolloutRow, _ frame: FrameScores, _ policy: SequenceScores?
    ) {
        if frame.entropy != nil, frame.entropyLow == nil || policy == nil {
            (scored.entropy, scored.entropyLow, scored.entropyHigh, scored.evidence) = (
                frame.entropy, frame.entropyLow, frame.entropyHigh, row.evidence
            )
            scored.evidenceTopK = frame.entropyLow == nil ? nil : Int32(frame.topK)
        } else if let policy {
            (scored.entropy, scored.evidence) = (policy.entropy, EntropySource.checkpoint.rawValue)
        }
    }

    // MARK: all files

    private func finish(_ work: WorkList<ScoreRecord>) throws -> StageSummary {
        if let manifest = try Manifest.read(directory.path) {
            return StageSummary(["output": directory.path, "counts": manifest.counts])
        }
        guard let pieces = try work.all() else {
            return StageSummary(["output": directory.path, "waiting_for_other_tasks": true])
        }
        let total = pieces.reduce(into: ScoreRecord()) { $0.merge($1.record) }
        let manifest = try directory.finish(outputs: pieces.map(\.file), counts: total.counts, measures: total.measures)
        let report = ScoreReport(total)
        report.lines.forEach(context.say)
        report.warnings.forEach(context.warn)
        return StageSummary(["output": directory.path, "counts": manifest.counts, "report": report.fields])
    }
}
