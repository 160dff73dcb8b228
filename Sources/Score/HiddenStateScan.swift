import Files
import Formats
import Foundation
import Models
import Tensors

/// Puts a rollout's final hidden states through the policy's head as they stream by, a chunk of rows at a time.
struct HiddenStateScan {
    private var scores = FrameScores()
    private let row: RolloutRow
    private let head: HeadModel
    private let checkpoint: String
    private let file: String
    private let place: String
    /// Token positions of the masked-in tokens: row k of the hidden states belongs to the k-th.
    private let positions: [Int]
    /// [chunk, C] of the rows from `done` on.
    private let chunk: Buffer
    private var done = 0
    private var waiting = 0

    private static let chunkRows = 256
    /// The head's products take all threads by themselves.
    private static let lock = NSLock()

    init(_ row: RolloutRow, _ head: HeadModel, checkpoint: String, file: String, place: String) {
        (self.row, self.head, self.checkpoint, self.file, self.place) = (row, head, checkpoint, file, place)
        positions = row.lossMask.indices.filter { row.lossMask[$0] }
        chunk = Buffer(uninitialized: min(Self.chunkRows, positions.count) * head.width)
        scores.entropy = [Float](repeating: 0, count: row.tokenIDs.count)
        scores.logprobs = scores.entropy
    }

    mutating func see(_ hidden: LogitsRow) throws {
        if hidden.index == 0 { try check(hidden.info) }
        hidden.bytes.widen(hidden.info.dtype, into: chunk.pointer + waiting * head.width, count: head.width)
        waiting += 1
        if waiting * head.width == chunk.count { score() }
    }

    private func check(_ info: LogitsInfo) throws {
        guard info.vocabulary == head.width else {
            throw FormatError(
                file: file, place: place, found: "hidden states of width \(info.vocabulary)",
                expected: "\(head.width), the width of \(checkpoint)",
                remedy: "Give the checkpoint that sampled the dump.")
        }
        guard let token = row.tokenIDs.first(where: { !(0..<Int32(head.vocabulary)).contains($0) }) else { return }
        throw FormatError(
            file: file, place: place, found: "token id \(token)",
            expected: "ids below \(head.vocabulary), the vocabulary of \(checkpoint)",
            remedy: "Give the checkpoint that sampled the dump.")
    }

    private mutating func score() {
        let part = positions[done..<done + waiting], hidden = Matrix(chunk.pointer, rows: waiting, columns: head.width)
        let answers = Self.lock.withLock {
            head.answers(
                hidden, targets: part.map { row.tokenIDs[$0] }, temperature: row.temperature,
                supports: row.support.map { support in (done..<done + waiting).map { support[$0] } })
        }
        for (position, answer) in zip(part, answers) {
            guard answer.output.isFinite, answer.entropy.isFinite else {
                return scores.invalid = .invalidHiddenStates
            }
            scores.entropy?[position] = answer.entropy
            scores.logprobs?[position] = answer.output
        }
        (done, waiting) = (done + waiting, 0)
    }

    /// Scores of all rows, the last chunk included.
    mutating func finished() -> FrameScores {
        if waiting > 0, scores.invalid == nil { score() }
        return scores
    }
}
