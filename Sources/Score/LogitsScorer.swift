import Arrow
import Entropy
import Files
import Formats
import Foundation
import FrameMeasures
import StageSupport

extension DistributionColumns {
    var columns: [Column<ScoreRow>] { (sumPSquared ? [Tables.sumPSquared] : []) + (topK > 0 ? Tables.topK : []) }

    /// Tokens whose scores are in memory at a time: some 30 MB of them.
    var chunkTokens: Int { (1 << 20) / (1 + topK / 4) }
}

extension FrameScores {
    init(_ measured: MeasuredLogits?) {
        guard let measured else { return }
        (entropy, logprobs, storage, invalid) = (
            measured.entropy, measured.logprobs, measured.storage, measured.invalid
        )
        (sumPSquared, topkTokenIDs, topkLogprobs) = (
            measured.sumPSquared, measured.topkTokenIDs, measured.topkLogprobs
        )
    }
}

/// Streams a rollout's frame once, one row of logits at a time.
struct LogitsScorer: Sendable {
    /// Shards that rows point into.
    private let files: DumpFiles
    /// Vocabulary of the checkpoint that scores beside, if any: the dump's must be the same.
    let checkpoint: ScoringModel?
    let wanted: DistributionColumns
    let memory: PlaneMemory
    /// What ingest measured in its pass, where that is all that is wanted.
    let measures: MeasuredFrames?

    init(
        files: DumpFiles, checkpoint: ScoringModel?, wanted: DistributionColumns, memory: PlaneMemory,
        measures: MeasuredFrames?
    ) {
        (self.files, self.checkpoint, self.wanted, self.memory) = (files, checkpoint, wanted, memory)
        self.measures = measures
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
        if let measures, let measure = try measures.row(row.rolloutID) { return try scores(row, measure, measures) }
        guard !row.logitsPath.isEmpty else { return FrameScores() }
        let shard = try files.file(row.logitsPath)
        let place = "rollout '\(row.rolloutID)' at byte \(row.logitsOffset)"
        let stream = try FrameStream(try span(row, shard, place), in: shard, place: place)
        var scan = LogitsScan(MeasuredRollout(row), wanted), hidden = try hiddenScan(row, shard.path, place)
        let uses = row.evidence == EntropySource.logits.rawValue
        let frame = try RolloutFrameReader.read(
            stream, file: shard.path, place: place, memory: memory,
            logitsRow: uses
                ? {
                    if $0.index == 0 { try check($0.info, row, shard.path, place) }
                    scan.see($0)
                }
                : nil,
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
        var scores = hidden?.finished() ?? FrameScores(scan.measured)
        scores.values = masked(frame.values, row)
        scores.referenceLogprobs = masked(frame.referenceLogprobs, row)
        scores.teacherLogprobs = masked(frame.teacherLogprobs, row)
        if row.evidence == EntropySource.topk.rawValue {
            fill(&scores, TopKScores(frame, row, checkpoint: checkpoint?.vocabulary))
        }
        return scores
    }

    /// Without a look at the dump.
    private func scores(_ row: RolloutRow, _ measure: MeasureRow, _ measures: MeasuredFrames) throws -> FrameScores {
        let file = row.logitsPath, place = "rollout '\(row.rolloutID)'"
        guard measure.entropy.count == row.tokenIDs.count else {
            throw FormatError(
                file: file, place: place, found: "\(measure.entropy.count) measured tokens",
                expected: "\(row.tokenIDs.count), as its row has", remedy: "Ingest the dump again, with --overwrite.")
        }
        try checkVocabulary(Int(measure.vocabulary), file, place)
        var scores = FrameScores(
            MeasuredLogits(
                entropy: measure.entropy, logprobs: measure.logprobs, storage: try measures.storageError(measure),
                invalid: try measures.invalidity(measure)))
        scores.values = masked(measure.values, row)
        scores.referenceLogprobs = masked(measure.referenceLogprobs, row)
        scores.teacherLogprobs = masked(measure.teacherLogprobs, row)
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
            return try checkVocabulary(info.vocabulary, file, place)
        }
        throw FormatError(
            file: file, place: place,
            found: "logits over \(info.vocabulary) tokens, and token id \(token) in the ingest table",
            expected: "ids below \(info.vocabulary)", remedy: "Ingest the dump again, with --overwrite.")
    }

    private func checkVocabulary(_ vocabulary: Int, _ file: String, _ place: String) throws {
        guard let checkpoint, checkpoint.vocabulary != vocabulary else { return }
        throw FormatError(
            file: file, place: place, found: "logits over \(vocabulary) tokens",
            expected: "\(checkpoint.vocabulary), the vocabulary of \(checkpoint.directory)",
            remedy: "Give the checkpoint that sampled the dump.")
    }
}
