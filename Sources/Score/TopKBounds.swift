import Credit
import Formats

/// Fills in the entropy intervals of a rollout that was dumped with its k best log-probabilities; the entropy itself is their middle.
struct TopKBounds {
    private let frame: RolloutFrame
    /// Far above any vocabulary: the upper bound needs the tail's size, which a top-k dump does not say. Producers may state
    /// `vocab_size` in the metadata.
    private static let assumedVocabulary = 262_144

    init(_ frame: RolloutFrame) { self.frame = frame }

    func fill(_ scores: inout FrameScores) {
        guard let logprobs = frame.topkLogprobs, frame.topk > 0 else { return }
        let vocabulary = frame.metadata["vocab_size"].flatMap { Int($0) } ?? Self.assumedVocabulary
        var low = [Float](repeating: 0, count: frame.tokenIDs.count), high = low, middle = low, row = 0
        for position in frame.lossMask.indices where frame.lossMask[position] {
            let head = logprobs[row * frame.topk..<(row + 1) * frame.topk].filter { $0 > -9000 }
            guard let bounds = EntropyBounds.bounds(head.map { Double($0) }, vocabulary: vocabulary) else { return scores.invalid = "invalid_topk" }
            (low[position], high[position]) = (Float(bounds.low), Float(bounds.high))
            middle[position] = Float((bounds.low + bounds.high) / 2)
            row += 1
        }
        (scores.entropy, scores.entropyLow, scores.entropyHigh) = (middle, low, high)
    }
}
