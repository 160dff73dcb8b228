import Foundation

/// Entropy as a proven interval from the k best log-probabilities of a full-vocabulary log-softmax.
///
/// With head probabilities p_1 ≥ … ≥ p_k, tail mass μ and head entropy h: the upper bound spreads μ over the n tokens of
/// the tail, the lower bound packs it into pieces no larger than p_k.
package enum EntropyBounds {
    /// nil where the probabilities contradict each other.
    package static func bounds(_ logprobs: [Double], vocabulary: Int) -> (low: Double, high: Double)? {
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
