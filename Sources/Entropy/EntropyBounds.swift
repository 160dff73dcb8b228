import Foundation

/// Entropy as a proven interval from the k best log-probabilities of a full-vocabulary log-softmax.
///
/// With head probabilities p_1 ≥ … ≥ p_k, tail mass μ and head entropy h: the upper bound spreads μ over the n tokens
/// of the tail, the lower bound packs it into pieces no larger than p_k. A token of the tail whose log-probability is
/// known moves to the head; the cap stays p_k. Where log-probabilities were rounded, each p_i is only known to lie in a
/// range, and so is μ: the bounds then hold for whatever lies within.
package enum EntropyBounds {
    /// `known`: log-probabilities of tokens outside the k best. nil where the probabilities contradict each other.
    package static func bounds(
        _ logprobs: [Double], known: [Double] = [], vocabulary: Int, rounding: LogprobRounding = .none,
        knownRounding: LogprobRounding? = nil
    ) -> (low: Double, high: Double)? {
        guard let smallest = logprobs.min() else { return nil }
        let others = knownRounding ?? rounding
        let best = logprobs.map { Range(logprob: $0, rounding.error($0)) }
        let head = best + known.map { Range(logprob: $0, others.error($0)) }, tail = vocabulary - head.count
        let mass = Range(low: head.reduce(0) { $0 + $1.low }, high: head.reduce(0) { $0 + $1.high })
        let mu = Range(low: max(0, 1 - mass.high), high: max(0, 1 - mass.low)),
            cap = exp(smallest + rounding.error(smallest))
        guard tail >= 0, mass.low <= 1 + 1e-3, mu.low <= Double(tail) * cap + 1e-6 else { return nil }
        // Rounding of float32 log-probabilities.
        let slack = 2e-6 * Double(head.count)
        let low = head.reduce(0) { $0 + min(Self.term($1.low), Self.term($1.high)) } + (tail == 0 ? 0 : packed(mu, cap))
        let high = head.reduce(0) { $0 + Self.largestTerm($1) } + (tail == 0 ? 0 : spread(mu, over: Double(tail)))
        return (max(0, low - slack), high + slack)
    }

    private struct Range {
        var low: Double
        var high: Double

        init(low: Double, high: Double) { (self.low, self.high) = (low, high) }
        init(logprob: Double, _ error: Double) {
            (low, high) = (min(1, exp(logprob - error)), min(1, exp(logprob + error)))
        }
    }

    /// -p log p
    private static func term(_ p: Double) -> Double { p > 0 ? -p * log(p) : 0 }

    /// The term rises to 1/e and falls behind it.
    private static func largestTerm(_ range: Range) -> Double {
        let top = 1 / M_E
        return range.low <= top && top <= range.high ? top : max(term(range.low), term(range.high))
    }

    /// The largest entropy of a tail of n tokens: μ log(n / μ), which rises up to μ = n / e.
    private static func spread(_ mu: Range, over n: Double) -> Double {
        let best = min(max(n / M_E, mu.low), mu.high)
        return best > 0 ? best * log(n / best) : 0
    }

    /// The smallest entropy of a tail none of whose tokens exceeds the cap. It is concave between multiples of the cap
    /// and grows from one multiple to the next, so the smallest of a range of masses lies at an end of it or at the
    /// first multiple within.
    private static func packed(_ mu: Range, _ cap: Double) -> Double {
        let multiple = (mu.low / cap).rounded(.up) * cap
        return min(packed(mu.low, cap), packed(mu.high, cap), multiple < mu.high ? packed(multiple, cap) : .infinity)
    }

    private static func packed(_ mu: Double, _ cap: Double) -> Double {
        guard cap > 0, mu > 0 else { return 0 }
        let pieces = (mu / cap).rounded(.down)
        return pieces * term(cap) + term(max(0, mu - pieces * cap))
    }
}
