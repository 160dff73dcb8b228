import Formats
import Foundation

/// Entropy as a proven interval from the k best log-probabilities of the full-vocabulary log-softmax.
///
/// With head probabilities p_1 ≥ … ≥ p_k, tail mass μ and head entropy h: the upper bound spreads μ over the n tokens of
/// the tail, the lower bound packs it into pieces no larger than p_k.
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
            guard let bounds = Self.bounds(head.map { Double($0) }, vocabulary: vocabulary) else { return scores.invalid = "invalid_topk" }
            (low[position], high[position]) = (Float(bounds.low), Float(bounds.high))
            middle[position] = Float((bounds.low + bounds.high) / 2)
            row += 1
        }
        (scores.entropy, scores.entropyLow, scores.entropyHigh) = (middle, low, high)
    }

    /// nil where the probabilities contradict each other.
    static func bounds(_ logprobs: [Double], vocabulary: Int) -> (low: Double, high: Double)? {
        let head = logprobs.sorted(by: >), tail = vocabulary - head.count
        guard let smallest = head.last.map(exp), tail >= 0 else { return nil }
        let mass = head.reduce(0) { $0 + exp($1) }, mu = max(0, 1 - mass), h = -head.reduce(0) { $0 + exp($1) * $1 }
        guard mass <= 1 + 1e-3, mu <= Double(tail) * smallest + 1e-6 else { return nil }
        // Rounding of k float32 log-probabilities.
        let slack = 2e-6 * Double(head.count)
        guard mu > 0, tail > 0 else { return (max(0, h - slack), h + slack) }
        let pieces = (mu / smallest).rounded(.down), rest = mu - pieces * smallest
        let packed = h - pieces * smallest * log(smallest) - (rest > 0 ? rest * log(rest) : 0)
        return (max(0, packed - slack), h + mu * log(Double(tail) / mu) + slack)
    }
}
