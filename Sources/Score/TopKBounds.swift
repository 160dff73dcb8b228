import Credit
import Formats
import StageSupport

/// Fills in the entropy intervals of a rollout that was dumped with its k best log-probabilities; the entropy itself is their middle.
struct TopKBounds {
    private let frame: RolloutFrame
    private let row: RolloutRow
    private let vocabulary: Int
    /// Whether the vocabulary is a guess.
    let assumesVocabulary: Bool

    /// Far above any vocabulary: the upper bound needs the tail's size, which a top-k dump does not say. Producers may state
    /// `vocab_size` in the metadata.
    static let assumedVocabulary = 262_144

    /// `checkpoint`: vocabulary of the checkpoint that scores beside, if any.
    init(_ frame: RolloutFrame, _ row: RolloutRow, checkpoint: Int?) {
        (self.frame, self.row) = (frame, row)
        let stated = frame.metadata["vocab_size"].flatMap { Int($0) } ?? checkpoint
        (vocabulary, assumesVocabulary) = (stated ?? Self.assumedVocabulary, stated == nil)
    }

    /// Whether the log-probabilities are those of the distribution that entropies are taken of. Raw ones are before the temperature, and
    /// what entropy is at another temperature doesn't follow from some of them; processed ones must not have been cut off.
    var areOfThePolicy: Bool { frame.metadata["logits_kind"] == "processed" ? isWhole : row.temperature == 1 }

    /// Whether the sampler drew from the whole distribution, so that `rollout_logprobs` are of it too.
    private var isWhole: Bool { row.topP == 1 && (frame.metadata["top_k"].flatMap { Int($0) } ?? 0) <= 0 }

    func fill(_ scores: inout FrameScores) {
        guard let logprobs = frame.topkLogprobs, let ids = frame.topkTokenIDs, frame.topk > 0 else { return }
        let rounding = EntropyBounds.Rounding(of: logprobs)
        var low = [Float](repeating: 0, count: frame.tokenIDs.count), high = low, middle = low, start = 0
        for position in frame.lossMask.indices where frame.lossMask[position] {
            let best = start..<start + frame.topk
            // Engines fill up what they don't know with -9999.
            let head = logprobs[best].filter { $0 > -9000 }.map { Double($0) }
            guard let bounds = EntropyBounds.bounds(head, known: sampled(position, among: ids[best]), vocabulary: vocabulary, rounding: rounding) else {
                return scores.invalid = "invalid_topk"
            }
            (low[position], high[position]) = (Float(bounds.low), Float(bounds.high))
            middle[position] = Float((bounds.low + bounds.high) / 2)
            start += frame.topk
        }
        (scores.entropy, scores.entropyLow, scores.entropyHigh) = (middle, low, high)
    }

    /// The sampled token's log-probability where it is not among the best and the sampler's own is of the same distribution.
    private func sampled(_ position: Int, among best: ArraySlice<Int32>) -> [Double] {
        guard isWhole, let logprob = frame.rolloutLogprobs?[position], logprob.isFinite, !best.contains(frame.tokenIDs[position]) else { return [] }
        return [Double(logprob)]
    }
}
