import Arrow
import Entropy
import Files
import Formats
import Foundation
import StageSupport

/// What score is to write of full-vocabulary distributions beyond entropy and log-probability.
struct DistributionColumns: Sendable {
    var topK = 0
    var sumPSquared = false

    var columns: [Column<ScoreRow>] { (sumPSquared ? [Tables.sumPSquared] : []) + (topK > 0 ? Tables.topK : []) }

    /// Tokens whose scores are in memory at a time: some 30 MB of them.
    var chunkTokens: Int { (1 << 20) / (1 + topK / 4) }
}

/// Streams a rollout's frame once, one row of logits at a time.
struct LogitsScorer: Sendable {
    /// Shards that rows point into.
    private let files: DumpFiles
    /// Vocabulary of the checkpoint that scores beside, if any: the dump's must be the same.
    let checkpoint: ScoringModel?
    let wanted: DistributionColumns
    let memory: PlaneMemory

    init(files: DumpFiles, checkpoint: ScoringModel?, wanted: DistributionColumns, memory: PlaneMemory) {
        (self.files, self.checkpoint, self.wanted, self.memory) = (files, checkpoint, wanted, memory)
    }

    /// In the order of the rows. Long frames begin first, because nothing shortens the last one's way: a frame is one
    /// thread's.
    func score(_ rows: [RolloutRow], threads: Int) throws -> [FrameScores] {
        // By powers of two, so that a file of like frames is still read from front to back.
        let order = rows.indices.sorted { (Self.size(rows[$0]), $1) > (Self.size(rows[$1]), $0) }
        let scores = try parallelMap(order.count, threads: threads) { try score(rows[order[$0]]) }
        var placed = [FrameScores](repeating: FrameScores(), count: rows.count)
        for (place, score) in zip(order, scores) { placed[place] = score }
        return placed
    }

    private static func size(_ row: RolloutRow) -> Int { Int64.bitWidth - max(0, row.logitsLength).leadingZeroBitCount }

    private func score(_ row: RolloutRow) throws -> FrameScores {
        guard !row.logitsPath.isEmpty else { return FrameScores() }
        let shard = try files.file(row.logitsPath)
        let place = "rollout '\(row.rolloutID)' at byte \(row.logitsOffset)"
        let stream = try FrameStream(try span(row, shard, place), in: shard, place: place)
        var scan = LogitsScan(row, wanted), hidden = try hiddenScan(row, shard.path, place)
        let uses = row.evidence == EntropySource.logits.rawValue
        let frame = try RolloutFrameReader.read(
            stream, file: shard.path, place: place, memory: memory,
            logitsRow: uses ? { try scan.see($0, self, shard.path, place) } : nil,
            hiddenRow: hidden == nil
                ? nil
                : {
                    if $0.index == 0 { try requireRows($0.info.rows, "hidden states", row, shard.path, place) }
                    try hidden?.see($0)
                })
        guard frame.metadata["rollout_id"] == row.rolloutID, frame.tokenIDs == row.tokenIDs,
            frame.lossMask == row.lossMask
        else {
            throw changed(
                shard.path, place,
                "rollout '\(frame.metadata["rollout_id"] ?? "")' there, of other tokens or another mask")
        }
        if frame.topk > 0 {
            try requireRows(
                (frame.topkTokenIDs?.count ?? 0) / frame.topk, "best log-probabilities", row, shard.path, place)
        }
        var scores = hidden?.finished() ?? scan.scores
        scores.values = masked(frame.values, row)
        scores.referenceLogprobs = masked(frame.referenceLogprobs, row)
        if row.evidence == EntropySource.topk.rawValue {
            fill(&scores, TopKScores(frame, row, checkpoint: checkpoint?.vocabulary))
        }
        return scores
    }

    private func fill(_ scores: inout FrameScores, _ bounds: TopKScores) {
        scores.isOtherTemperature = !bounds.areOfThePolicy
        guard bounds.areOfThePolicy else { return }
        scores.assumesVocabulary = bounds.assumesVocabulary
        bounds.fill(&scores)
    }

    private func hiddenScan(_ row: RolloutRow, _ file: String, _ place: String) throws -> HiddenStateScan? {
        guard row.evidence == EntropySource.hidden.rawValue else { return nil }
        guard let checkpoint else {
            throw StageError(
                .invalidInput,
                "\(file): \(place): found hidden states and no checkpoint, expected --checkpoint DIR, the policy whose head they go into"
            )
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
        FormatError(
            file: file, place: place, found: found, expected: "the frame that ingest saw",
            remedy: "The dump has changed since; ingest it again.")
    }

    private func masked(_ values: [Float]?, _ row: RolloutRow) -> [Float]? {
        values.map { zip($0, row.lossMask).map { $1 ? $0 : 0 } }
    }

    /// One row of whatever a frame has for each trainable token.
    func requireRows(_ rows: Int, _ what: String, _ row: RolloutRow, _ file: String, _ place: String) throws {
        let trainable = row.lossMask.count { $0 }
        guard rows != trainable else { return }
        throw changed(file, place, "\(rows) rows of \(what) there for \(trainable) trainable tokens")
    }

    /// Before a row of logits is looked at in the column of a token.
    func check(_ info: LogitsInfo, _ row: RolloutRow, _ file: String, _ place: String) throws {
        try requireRows(info.rows, "logits", row, file, place)
        guard let token = row.tokenIDs.first(where: { Int($0) >= info.vocabulary }) else {
            return try checkVocabulary(info, file, place)
        }
        throw FormatError(
            file: file, place: place,
            found: "logits over \(info.vocabulary) tokens, and token id \(token) in the ingest table",
            expected: "ids below \(info.vocabulary)", remedy: "Ingest the dump again, with --overwrite.")
    }

    private func checkVocabulary(_ info: LogitsInfo, _ file: String, _ place: String) throws {
        guard let checkpoint, checkpoint.vocabulary != info.vocabulary else { return }
        throw FormatError(
            file: file, place: place, found: "logits over \(info.vocabulary) tokens",
            expected: "\(checkpoint.vocabulary), the vocabulary of \(checkpoint.directory)",
            remedy: "Give the checkpoint that sampled the dump.")
    }
}

/// Collects the numbers of a rollout's logits rows as they stream by.
private struct LogitsScan {
    private(set) var scores = FrameScores()
    private let row: RolloutRow
    /// Token positions of the masked-in tokens: logits row k belongs to the k-th.
    private let positions: [Int]
    private let wanted: DistributionColumns
    private let meter: LogitsMeter
    private var draw: RowDraw
    /// Of the bounds, where logits were rounded to a narrower type before they were stored.
    private var precision = 1.0

    init(_ row: RolloutRow, _ wanted: DistributionColumns) {
        (self.row, self.wanted) = (row, wanted)
        positions = row.lossMask.indices.filter { row.lossMask[$0] }
        meter = LogitsMeter(
            inverseTemperature: Self.isProcessed(row) ? 1 : 1 / row.temperature, sumPSquared: wanted.sumPSquared)
        draw = RowDraw(digest: SHA256Digest.of(row.rolloutID))
    }

    /// `processed` logits have been divided by the temperature already.
    private static func isProcessed(_ row: RolloutRow) -> Bool {
        let extras = try? JSONSerialization.jsonObject(with: Data(row.extras.utf8)) as? [String: Any]
        return extras?["logits_kind"] as? String == "processed"
    }

    mutating func see(_ logits: LogitsRow, _ scorer: LogitsScorer, _ file: String, _ place: String) throws {
        if logits.index == 0 {
            try scorer.check(logits.info, row, file, place)
            makeRoom()
        }
        let position = positions[logits.index], measure = measure(logits, position)
        guard measure.isValid else { return scores.invalid = .invalidLogits }
        // Of probability 0, so nobody can have sampled it from this distribution.
        guard Float(measure.logprob).isFinite else { return scores.invalid = .invalidSampledToken }
        scores.entropy?[position] = Float(measure.entropy)
        scores.logprobs?[position] = Float(measure.logprob)
        scores.sumPSquared?[position] = Float(measure.sumPSquared)
        addStorageError(logits, position, measure)
    }

    private mutating func addStorageError(_ logits: LogitsRow, _ position: Int, _ measure: LogitsMeasure) {
        if let weight = draw.weight(logits.index, measure) {
            let error = meter.storageError(logits.kernelRow, sampled: row.tokenIDs[position], measure)
            if logits.index == 0 {
                precision = error.precision
                scores.storage.add(type: error.type)
            }
            scores.storage.add(error, weight: weight)
        }
        scores.storage.add(measure, precision: precision)
    }

    private mutating func makeRoom() {
        let count = row.tokenIDs.count, zeros = [Float](repeating: 0, count: count)
        (scores.entropy, scores.logprobs) = (zeros, zeros)
        if wanted.sumPSquared { scores.sumPSquared = zeros }
        guard wanted.topK > 0 else { return }
        scores.topkTokenIDs = [Int32](repeating: 0, count: count * wanted.topK)
        scores.topkLogprobs = [Float](repeating: 0, count: count * wanted.topK)
    }

    private mutating func measure(_ logits: LogitsRow, _ position: Int) -> LogitsMeasure {
        let token = row.tokenIDs[position]
        guard wanted.topK > 0 else { return meter.measure(logits.kernelRow, sampled: token) }
        let (measure, best) = meter.measure(logits.kernelRow, sampled: token, topK: wanted.topK)
        let place = position * wanted.topK..<(position + 1) * wanted.topK
        scores.topkTokenIDs?.replaceSubrange(place, with: best.ids)
        scores.topkLogprobs?.replaceSubrange(place, with: best.logprobs)
        return measure
    }
}
