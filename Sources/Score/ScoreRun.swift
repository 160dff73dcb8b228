import Formats
import Foundation
import Models
import Rewards
import StageSupport

/// One ingest file's outcome, remembered until the manifest is written.
struct ScoreRecord: Codable, Sendable {
    var rows = 0
    var verdicts: [String: Int] = [:]
    var rewardSum = 0.0
    var rewarded = 0
    var correct = 0
    var judged = 0
    var entropyTokens = 0
    var nearZeroEntropies = 0
    var noise = NoiseFloor()
    var disagreement: [String: Disagreement] = [:]
    /// Rollouts by what their entropies came from.
    var grades: [String: Int] = [:]
    /// Of those known by their best log-probabilities: bounds that rest on a guessed vocabulary, and none because of the temperature.
    var assumedVocabulary = 0
    var otherTemperature = 0
    /// States in which the reference excludes a token that the policy reaches.
    var excludingStates = 0
    /// Rollouts that no plan can use: the first of each verdict.
    var unusable: [String: String] = [:]
}

/// How far two sources differ about the log-probabilities of the sampled tokens.
struct Disagreement: Codable, Sendable {
    var tokens = 0
    var sum = 0.0
    var largest = 0.0
    var rolloutID = ""
    var position = 0

    mutating func add(_ a: [Float]?, _ b: [Float]?, _ row: RolloutRow) {
        guard let a, let b else { return }
        for t in row.lossMask.indices where row.lossMask[t] && a[t].isFinite && b[t].isFinite {
            let difference = abs(Double(a[t]) - Double(b[t]))
            tokens += 1
            sum += difference
            if difference > largest { (largest, rolloutID, position) = (difference, row.rolloutID, t) }
        }
    }

    static func += (sum: inout Disagreement, next: Disagreement) {
        sum.tokens += next.tokens
        sum.sum += next.sum
        if next.largest > sum.largest { (sum.largest, sum.rolloutID, sum.position) = (next.largest, next.rolloutID, next.position) }
    }
}

/// Runs the ingest files, then — whichever task comes last — finishes the directory.
struct ScoreRun {
    let directory: StageDirectory
    let ingest: String
    let manifest: Manifest
    let names: [String]
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
        return try directory.exclusively { try finish(work) }
    }

    /// A stretch of its rows after the other, so that memory doesn't depend on the file's length.
    private func scoreFile(_ name: String, output: String) throws -> ScoreRecord {
        try manifest.verify(name, in: ingest, context.options)
        let rollouts = try ArrowTableReader(path: ingest + "/" + name, table: Tables.rollouts)
        let scorer = LogitsScorer(ingest: ingest, checkpoint: policies.checkpoint, wanted: wanted, memory: memory)
        let graded = GradedTable(path: output, table: Tables.scores.adding(wanted.columns), grade: { $0.evidence ?? EvidenceGrade.none.rawValue }) {
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
        try table.finish()
        return record
    }

    private static let stretchRows = 1 << 13

    private func score(_ rows: [RolloutRow], _ scorer: LogitsScorer, _ record: inout ScoreRecord, _ table: inout GradedTableWriter<ScoreRow>) throws {
        try context.checkInterruption()
        let frames = try scorer.score(rows, threads: context.threads), models = try policies.score(rows), outcomes = try judge.judge(rows)
        for (index, row) in rows.enumerated() {
            let mark = score(row, frames[index], models[index], outcomes[index])
            record.add(row, mark, frames[index], models[index].policy)
            record.excludingStates += models[index].excludingStates
            try table.append(mark)
        }
    }

    private func score(_ row: RolloutRow, _ frame: FrameScores, _ models: ModelScores, _ outcome: RewardOutcome) -> ScoreRow {
        var mark = ScoreRow()
        mark.rolloutID = row.rolloutID
        (mark.reward, mark.correct, mark.verdict, mark.extracted) = (outcome.reward, outcome.correct, outcome.verdict, outcome.extracted)
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
        (mark.sumPSquared, mark.topkTokenIDs, mark.topkLogprobs) = (frame.sumPSquared, frame.topkTokenIDs, frame.topkLogprobs)
        // What the head says of hidden states is the checkpoint's word.
        let head = row.evidence == EvidenceGrade.hidden.rawValue ? frame.logprobs : nil
        mark.oldLogprobs = head ?? models.policy?.logprobs ?? row.rolloutLogprobs ?? frame.logprobs
        mark.refuseNotFinite(row.lossMask)
        return mark
    }

    /// Exact from the dump, exact from the checkpoint, as an interval from the dump: in this order.
    private func fillEntropy(_ mark: inout ScoreRow, _ row: RolloutRow, _ frame: FrameScores, _ policy: SequenceScores?) {
        if frame.entropy != nil, frame.entropyLow == nil || policy == nil {
            (mark.entropy, mark.entropyLow, mark.entropyHigh, mark.evidence) = (frame.entropy, frame.entropyLow, frame.entropyHigh, row.evidence)
        } else if let policy {
            (mark.entropy, mark.evidence) = (policy.entropy, EvidenceGrade.checkpoint.rawValue)
        }
    }

    // MARK: all files

    private func finish(_ work: WorkList<ScoreRecord>) throws -> StageSummary {
        if let manifest = try Manifest.read(directory.path) { return StageSummary(["output": directory.path, "counts": manifest.counts]) }
        guard let records = try work.allRecords() else { return StageSummary(["output": directory.path, "waiting_for_other_tasks": true]) }
        let total = records.reduce(into: ScoreRecord()) { $0.merge($1) }
        let files = try zip(outputs, records).map { try Manifest.describe($0, in: directory.path, rows: $1.rows) }
        let manifest = try directory.finish(
            outputs: files, counts: total.counts, measures: ["reward_mean": total.rewarded == 0 ? 0 : total.rewardSum / Double(total.rewarded)])
        let report = ScoreReport(total)
        report.lines.forEach(context.say)
        report.warnings.forEach(context.warn)
        return StageSummary(["output": directory.path, "counts": manifest.counts, "report": report.fields])
    }
}

extension ScoreRecord {
    mutating func add(_ row: RolloutRow, _ mark: ScoreRow, _ frame: FrameScores, _ policy: SequenceScores?) {
        rows += 1
        verdicts[mark.verdict, default: 0] += 1
        if mark.isUnusable, unusable[mark.verdict] == nil { unusable[mark.verdict] = row.rolloutID }
        if let reward = mark.reward { (rewardSum, rewarded) = (rewardSum + Double(reward), rewarded + 1) }
        if let isCorrect = mark.correct { (correct, judged) = (correct + (isCorrect ? 1 : 0), judged + 1) }
        noise += frame.noise
        grades[mark.evidence ?? EvidenceGrade.none.rawValue, default: 0] += 1
        assumedVocabulary += frame.assumesVocabulary && mark.entropyLow != nil ? 1 : 0
        otherTemperature += frame.isOtherTemperature && mark.entropy == nil ? 1 : 0
        for t in row.lossMask.indices where row.lossMask[t] {
            guard let entropy = mark.entropy?[t] else { break }
            entropyTokens += 1
            nearZeroEntropies += entropy < 0.01 ? 1 : 0
        }
        disagreement["logits_sampler", default: Disagreement()].add(frame.logprobs, row.rolloutLogprobs, row)
        disagreement["logits_checkpoint", default: Disagreement()].add(frame.logprobs, policy?.logprobs, row)
        disagreement["sampler_checkpoint", default: Disagreement()].add(row.rolloutLogprobs, policy?.logprobs, row)
    }

    mutating func merge(_ next: ScoreRecord) {
        rows += next.rows
        verdicts.merge(next.verdicts, uniquingKeysWith: +)
        rewardSum += next.rewardSum
        rewarded += next.rewarded
        correct += next.correct
        judged += next.judged
        entropyTokens += next.entropyTokens
        nearZeroEntropies += next.nearZeroEntropies
        noise += next.noise
        grades.merge(next.grades, uniquingKeysWith: +)
        assumedVocabulary += next.assumedVocabulary
        otherTemperature += next.otherTemperature
        excludingStates += next.excludingStates
        unusable.merge(next.unusable) { first, _ in first }
        for (pair, difference) in next.disagreement { disagreement[pair, default: Disagreement()] += difference }
    }

    var counts: [String: Int] {
        var counts = ["rollouts": rows, "entropy_tokens": entropyTokens, "correct": correct, "judged": judged]
        for (verdict, count) in verdicts { counts["verdict_\(verdict)"] = count }
        for (grade, count) in grades { counts["evidence_\(grade)"] = count }
        if excludingStates > 0 { counts["reference_excludes"] = excludingStates }
        return counts
    }
}

/// What score tells about a dump: verdicts, entropy, its noise floor, and whether the sources agree.
struct ScoreReport {
    let lines: [String]
    let warnings: [String]
    let fields: [String: any Sendable]

    init(_ record: ScoreRecord) {
        func number(_ value: Double) -> String { String(format: "%.3g", value) }
        func share(_ part: Int, _ whole: Int) -> Double { whole == 0 ? 0 : Double(part) / Double(whole) }
        let pairs = record.disagreement.filter { $0.value.tokens > 0 }.sorted { $0.key < $1.key }
        let mean = pairs.map { ($0.key, $0.value.sum / Double($0.value.tokens), $0.value) }
        let names = ["logits_sampler": "logits and sampler", "logits_checkpoint": "logits and checkpoint", "sampler_checkpoint": "sampler and checkpoint"]
        lines =
            [
                "\(record.rows) rollouts; " + record.verdicts.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
                    + "; accuracy \(number(share(record.correct, record.judged))), mean reward \(number(record.rewarded == 0 ? 0 : record.rewardSum / Double(record.rewarded)))",
                record.entropyTokens == 0
                    ? "no entropy: the dump has no logits and no --checkpoint was given"
                    : "entropy of \(record.entropyTokens) tokens, \(number(100 * share(record.nearZeroEntropies, record.entropyTokens))) % below 0.01; evidence: "
                        + record.grades.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", "),
                record.noise.tokens == 0
                    ? nil
                    : "noise floor of stored logits: entropy mean \(number(record.noise.entropySum / Double(record.noise.tokens))) "
                        + "largest \(number(record.noise.entropyMax)), log-probability mean \(number(record.noise.logprobSum / Double(record.noise.tokens))) largest \(number(record.noise.logprobMax))",
            ].compactMap { $0 }
            + mean.map { pair, mean, worst in
                "\(names[pair] ?? pair) differ about sampled tokens by \(number(mean)) on average, at most \(number(worst.largest)) (rollout \(worst.rolloutID), position \(worst.position))"
            }
        warnings =
            mean.filter { $0.1 > 1e-2 }.map { pair, mean, _ in
                "\(names[pair] ?? pair) differ by \(number(mean)) on average: check temperature, top-p and the policy version"
            } + Self.topKWarnings(record) + UnusableRows.warnings(record)
        var fields: [String: any Sendable] = [
            "accuracy": share(record.correct, record.judged), "share_below_0.01": share(record.nearZeroEntropies, record.entropyTokens),
            "entropy_noise_mean": record.noise.tokens == 0 ? 0 : record.noise.entropySum / Double(record.noise.tokens), "entropy_noise_max": record.noise.entropyMax,
        ]
        for (pair, mean, worst) in mean { (fields["\(pair)_mean"], fields["\(pair)_max"]) = (mean, worst.largest) }
        self.fields = fields
    }

    private static func topKWarnings(_ record: ScoreRecord) -> [String] {
        let assumed =
            "\(record.assumedVocabulary) rollouts don't say how large the vocabulary is: their entropies' upper bounds are those of "
            + "\(TopKBounds.assumedVocabulary) tokens. Put vocab_size into the metadata, or give --checkpoint"
        let other =
            "\(record.otherTemperature) rollouts have no entropy: what their best log-probabilities are of is not the distribution they were sampled from "
            + "(temperature, top-p or top-k), and doesn't follow from them. Give --checkpoint"
        return (record.assumedVocabulary > 0 ? [assumed] : []) + (record.otherTemperature > 0 ? [other] : [])
    }
}
