import Arrow
import Files
import Formats
import Foundation
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
    let policies: Policies
    let wanted: DistributionColumns
    let memory: PlaneMemory
    let context: StageContext

    private var outputs: [String] { names.map { "scores-" + $0.dropFirst("rollouts-".count) } }

    func run() throws -> StageSummary {
        let work = WorkList<ScoreRecord>(directory, outputs: outputs)
        let progress = ProgressLine(context, total: names.count, unit: "shards")
        let failures = try work.run(context) { index, output in
            defer { progress.advance() }
            return try scoreFile(names[index], output: output)
        }
        guard failures.isEmpty else {
            // Not one file could be scored: that is the input's fault as a whole, a wrong checkpoint for example.
            let status: ExitStatus = failures.count == names.count ? .invalidInput : .someShardsFailed
            return StageSummary(status: status, ["output": directory.path, "failed_shards": failures.map(\.file)])
        }
        return try directory.exclusively(context) { try finish(work) }
    }

    /// A stretch of its rows after the other, so that memory doesn't depend on the file's length.
    private func scoreFile(_ name: String, output: String) throws -> (ScoreRecord, WrittenFile) {
        try manifest.verify(name, in: ingest, context.options)
        let rollouts = try ArrowTableReader(path: ingest + "/" + name, table: Tables.rollouts)
        let scorer = LogitsScorer(files: files, checkpoint: policies.checkpoint, wanted: wanted, memory: memory)
        let graded = GradedTable(
            path: output, table: Tables.scores.adding(wanted.columns),
            grade: { $0.evidence ?? EvidenceGrade.none.rawValue }
        ) {
            directory.tableMetadata(evidence: $0.sorted())
        }
        var record = ScoreRecord(), table = GradedTableWriter(graded), stretch: [RolloutRow] = [], tokens = 0
        try rollouts.forEachRow { row in
            stretch.append(row)
            tokens += row.tokenIDs.count
            guard tokens >= wanted.stretchTokens || stretch.count >= Self.stretchRows else { return }
            try score(stretch, scorer, &record, &table)
            (stretch, tokens) = ([], 0)
        }
        if !stretch.isEmpty { try score(stretch, scorer, &record, &table) }
        return (record, try table.finish())
    }

    private static let stretchRows = 1 << 13

    private func score(
        _ rows: [RolloutRow], _ scorer: LogitsScorer, _ record: inout ScoreRecord,
        _ table: inout GradedTableWriter<ScoreRow>
    ) throws {
        try context.checkInterruption()
        let frames = try scorer.score(rows, threads: context.threads), models = try policies.score(rows),
            outcomes = try judge.judge(rows)
        for (index, row) in rows.enumerated() {
            let logprobs = OldLogprobs(row, frames[index], models[index].policy)
            let mark = score(row, frames[index], models[index], outcomes[index], logprobs)
            record.add(row, mark, frames[index], models[index].policy, logprobs.source)
            record.excludingStates += models[index].excludingStates
            try table.append(mark)
        }
    }

    private func score(
        _ row: RolloutRow, _ frame: FrameScores, _ models: ModelScores, _ outcome: RewardOutcome,
        _ logprobs: OldLogprobs
    ) -> ScoreRow {
        var mark = ScoreRow()
        mark.rolloutID = row.rolloutID
        (mark.reward, mark.correct, mark.verdict, mark.extracted) = (
            outcome.reward, outcome.correct, outcome.verdict, outcome.extracted
        )
        mark.values = models.values ?? frame.values
        mark.referenceLogprobs = models.referenceLogprobs ?? frame.referenceLogprobs
        mark.processLogprobs = models.processLogprobs
        mark.processReferenceLogprobs = models.processReferenceLogprobs
        mark.referenceKL = models.referenceKL
        mark.expectedQ = models.expectedQ
        mark.evidence = EvidenceGrade.none.rawValue
        if let invalid = frame.invalid {
            mark.verdict = invalid
            return mark
        }
        fillEntropy(&mark, row, frame, models.policy)
        (mark.sumPSquared, mark.topkTokenIDs, mark.topkLogprobs) = (
            frame.sumPSquared, frame.topkTokenIDs, frame.topkLogprobs
        )
        mark.oldLogprobs = logprobs.values
        mark.refuseNotFinite(row.lossMask)
        return mark
    }

    /// Exact from the dump, exact from the checkpoint, as an interval from the dump: in this order.
    private func fillEntropy(_ mark: inout ScoreRow, _ row: RolloutRow, _ frame: FrameScores, _ policy: SequenceScores?)
    {
        if frame.entropy != nil, frame.entropyLow == nil || policy == nil {
            (mark.entropy, mark.entropyLow, mark.entropyHigh, mark.evidence) = (
                frame.entropy, frame.entropyLow, frame.entropyHigh, row.evidence
            )
            mark.evidenceTopK = frame.entropyLow == nil ? nil : Int32(frame.topK)
        } else if let policy {
            (mark.entropy, mark.evidence) = (policy.entropy, EvidenceGrade.checkpoint.rawValue)
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

/// Where the log-probabilities come from that an update starts from.
enum LogprobSource: String, Codable, Sendable {
    /// The policy that was given: the trainer's own.
    case checkpoint
    /// The dump's `rollout_logprobs`.
    case sampler
    /// The dump's logits.
    case logits
}

/// The best that is known of the sampled tokens' log-probabilities.
struct OldLogprobs {
    let values: [Float]?
    let source: LogprobSource?

    init(_ row: RolloutRow, _ frame: FrameScores, _ policy: SequenceScores?) {
        // What the head says of hidden states is the checkpoint's word.
        let head = row.evidence == EvidenceGrade.hidden.rawValue ? frame.logprobs : nil
        if let trainer = head ?? policy?.logprobs {
            (values, source) = (trainer, .checkpoint)
        } else if let sampler = row.rolloutLogprobs {
            (values, source) = (sampler, .sampler)
        } else {
            (values, source) = (frame.logprobs, frame.logprobs == nil ? nil : .logits)
        }
    }
}
