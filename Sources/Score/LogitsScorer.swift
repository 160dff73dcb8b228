import CKernels
import Formats
import Foundation
import StageSupport

/// What a rollout's frame says beyond the ingest row: entropies and log-probabilities from its logits (or bounds from
/// its top-k), values, reference log-probabilities. Arrays have length L.
struct FrameScores: Sendable {
    var entropy: [Float]?
    var entropyLow: [Float]?
    var entropyHigh: [Float]?
    var logprobs: [Float]?
    var values: [Float]?
    var referenceLogprobs: [Float]?
    /// Sum and largest of what the storage type's rounding can have moved.
    var noise = NoiseFloor()
    /// Why the row can't be used, as a verdict.
    var invalid: String?
    /// The upper bounds rest on a guess of the vocabulary's size.
    var assumesVocabulary = false
    /// There are best log-probabilities, but of another distribution than the policy's.
    var isOtherTemperature = false
}

/// How far rounding of stored logits can have moved the numbers.
struct NoiseFloor: Codable, Sendable {
    var tokens = 0
    var entropySum = 0.0
    var entropyMax = 0.0
    var logprobSum = 0.0
    var logprobMax = 0.0

    mutating func add(_ stats: crux_row_stats) {
        tokens += 1
        entropySum += stats.entropy_noise
        entropyMax = max(entropyMax, stats.entropy_noise)
        logprobSum += stats.logprob_noise
        logprobMax = max(logprobMax, stats.logprob_noise)
    }

    static func += (sum: inout NoiseFloor, next: NoiseFloor) {
        sum.tokens += next.tokens
        sum.entropySum += next.entropySum
        sum.entropyMax = max(sum.entropyMax, next.entropyMax)
        sum.logprobSum += next.logprobSum
        sum.logprobMax = max(sum.logprobMax, next.logprobMax)
    }
}

/// Streams a rollout's frame once, one row of logits at a time.
struct LogitsScorer: Sendable {
    /// Shards that rows point into, mapped once.
    let shards: [String: MappedFile]
    let ingest: String
    /// Vocabulary of the checkpoint that scores beside, if any: the dump's must be the same.
    let checkpoint: Policy?

    init(rows: [RolloutRow], ingest: String, checkpoint: Policy?) throws {
        self.ingest = ingest
        self.checkpoint = checkpoint
        var shards: [String: MappedFile] = [:]
        for path in Set(rows.map(\.logitsPath)) where !path.isEmpty { shards[path] = try MappedFile(path: Self.resolve(path, in: ingest)) }
        self.shards = shards
    }

    /// Paths are absolute, or relative to the ingest directory where logits were copied there.
    private static func resolve(_ path: String, in ingest: String) -> String { path.hasPrefix("/") ? path : ingest + "/" + path }

    func score(_ row: RolloutRow) throws -> FrameScores {
        guard let shard = shards[row.logitsPath] else { return FrameScores() }
        let place = "rollout '\(row.rolloutID)' at byte \(row.logitsOffset)"
        let stream = try FrameStream(try span(row, shard, place), in: shard, place: place)
        var scan = LogitsScan(row), hidden = try hiddenScan(row, shard.path, place)
        let uses = row.evidence == EvidenceGrade.logits.rawValue
        let frame = try RolloutFrameReader.read(
            stream, file: shard.path, place: place, logitsRow: uses ? { try scan.see($0, $1, $2, self, shard.path, place) } : nil,
            hiddenRow: hidden == nil ? nil : { try hidden?.see($0, $1, $2) })
        guard frame.metadata["rollout_id"] == row.rolloutID, frame.tokenIDs == row.tokenIDs else {
            throw changed(shard.path, place, "rollout '\(frame.metadata["rollout_id"] ?? "")' there")
        }
        var scores = hidden?.finished() ?? scan.scores
        scores.values = masked(frame.values, row)
        scores.referenceLogprobs = masked(frame.referenceLogprobs, row)
        if row.evidence == EvidenceGrade.topk.rawValue { fill(&scores, TopKBounds(frame, row, checkpoint: checkpoint?.vocabulary)) }
        return scores
    }

    private func fill(_ scores: inout FrameScores, _ bounds: TopKBounds) {
        scores.isOtherTemperature = !bounds.areOfThePolicy
        guard bounds.areOfThePolicy else { return }
        scores.assumesVocabulary = bounds.assumesVocabulary
        bounds.fill(&scores)
    }

    private func hiddenScan(_ row: RolloutRow, _ file: String, _ place: String) throws -> HiddenStateScan? {
        guard row.evidence == EvidenceGrade.hidden.rawValue else { return nil }
        guard let checkpoint else {
            throw StageError(
                .invalidInput, "\(file): \(place): found hidden states and no checkpoint, expected --checkpoint DIR, the policy whose head they go into")
        }
        return HiddenStateScan(row, try checkpoint.head(), checkpoint: checkpoint.directory, file: file, place: place)
    }

    private func span(_ row: RolloutRow, _ shard: MappedFile, _ place: String) throws -> FrameSpan {
        let start = Int(row.logitsOffset), length = Int(row.logitsLength)
        guard start >= 0, length > 0, start <= shard.bytes.count, length <= shard.bytes.count - start else {
            throw changed(shard.path, place, "a file of \(shard.bytes.count) bytes")
        }
        return FrameSpan(offset: start, length: length)
    }

    private func changed(_ file: String, _ place: String, _ found: String) -> FormatError {
        FormatError(file: file, place: place, found: found, expected: "the frame that ingest saw", remedy: "The dump has changed since; ingest it again.")
    }

    private func masked(_ values: [Float]?, _ row: RolloutRow) -> [Float]? { values.map { zip($0, row.lossMask).map { $1 ? $0 : 0 } } }

    func checkVocabulary(_ info: LogitsInfo, _ file: String, _ place: String) throws {
        guard let checkpoint, checkpoint.vocabulary != info.vocabulary else { return }
        throw FormatError(
            file: file, place: place, found: "logits over \(info.vocabulary) tokens", expected: "\(checkpoint.vocabulary), the vocabulary of \(checkpoint.directory)",
            remedy: "Give the checkpoint that sampled the dump.")
    }
}

/// Collects the numbers of a rollout's logits rows as they stream by.
private struct LogitsScan {
    private(set) var scores = FrameScores()
    private let row: RolloutRow
    /// Token positions of the masked-in tokens: logits row k belongs to the k-th.
    private let positions: [Int]
    private let inverseTemperature: Float

    init(_ row: RolloutRow) {
        self.row = row
        positions = row.lossMask.indices.filter { row.lossMask[$0] }
        inverseTemperature = Self.isProcessed(row) ? 1 : 1 / row.temperature
    }

    /// `processed` logits have been divided by the temperature already.
    private static func isProcessed(_ row: RolloutRow) -> Bool {
        let extras = try? JSONSerialization.jsonObject(with: Data(row.extras.utf8)) as? [String: Any]
        return extras?["logits_kind"] as? String == "processed"
    }

    mutating func see(_ info: LogitsInfo, _ index: Int, _ bytes: UnsafeRawBufferPointer, _ scorer: LogitsScorer, _ file: String, _ place: String) throws {
        if index == 0 {
            try scorer.checkVocabulary(info, file, place)
            scores.entropy = [Float](repeating: 0, count: row.tokenIDs.count)
            scores.logprobs = scores.entropy
        }
        let position = positions[index]
        var stats = crux_row_stats()
        let dtype = info.dtype == .bf16 ? CRUX_BF16 : info.dtype == .f16 ? CRUX_F16 : CRUX_F32
        crux_logit_row(bytes.baseAddress, dtype, info.vocabulary, inverseTemperature, row.tokenIDs[position], &stats)
        guard stats.status == CRUX_ROW_OK else { return scores.invalid = "invalid_logits" }
        scores.entropy?[position] = Float(stats.entropy)
        scores.logprobs?[position] = Float(stats.logprob)
        scores.noise.add(stats)
    }
}
