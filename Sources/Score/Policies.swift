import Formats
import Foundation
import Models
import StageSupport

/// The checkpoints that score may run: the policy itself and a frozen reference.
struct Policies: Sendable {
    let checkpoint: Policy?
    let reference: Policy?

    init(checkpoint: String?, reference: String?, threads: Int) throws {
        self.checkpoint = try checkpoint.map { try Policy(directory: $0, threads: threads) }
        self.reference = try reference.map { try Policy(directory: $0, threads: threads) }
    }

    func inputFiles() throws -> [Manifest.File] { try (checkpoint?.inputFiles() ?? []) + (reference?.inputFiles() ?? []) }
}

/// A checkpoint with its weights loaded, asked for the log-probabilities of rollouts.
struct Policy: Sendable {
    let directory: String
    let vocabulary: Int
    private let model: LanguageModel
    private let paths: [String]

    init(directory: String, threads: Int) throws {
        let checkpoint = try Checkpoint(directory: directory)
        self.directory = directory
        vocabulary = checkpoint.architecture.vocabulary
        paths = checkpoint.inputPaths
        model = LanguageModel(checkpoint.architecture, parameters: try checkpoint.loadParameters(), threads: threads)
    }

    func inputFiles() throws -> [Manifest.File] {
        try paths.map { Manifest.File(path: $0, sha256: try SHA256Digest.ofFile($0)) }
    }

    /// Tokens scored at once: neighbours share prompts, and more buys nothing.
    private static let batchTokens = 4096

    /// Log-probability and entropy of every trainable token of every row, in row order. Batches are cut by tokens alone.
    func score(_ rows: [RolloutRow]) throws -> [SequenceScores] {
        var scores: [SequenceScores] = [], batch: [SequenceQuery] = [], tokens = 0
        for row in rows {
            try check(row)
            if !batch.isEmpty, tokens + row.tokenIDs.count > Self.batchTokens {
                scores += try model.score(batch)
                (batch, tokens) = ([], 0)
            }
            batch.append(SequenceQuery(tokenIDs: row.tokenIDs, wanted: row.lossMask, temperature: row.temperature))
            tokens += row.tokenIDs.count
        }
        return scores + (try model.score(batch))
    }

    private func check(_ row: RolloutRow) throws {
        guard let token = row.tokenIDs.first(where: { !(0..<Int32(vocabulary)).contains($0) }) else { return }
        throw StageError(
            .invalidInput,
            "\(directory): rollout '\(row.rolloutID)': found token id \(token), expected ids below the checkpoint's vocabulary, \(vocabulary). Give the checkpoint that sampled the dump.")
    }
}
