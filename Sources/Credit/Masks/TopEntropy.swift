import Quantiles

/// The share ρ of tokens with the highest entropy: H ≥ τ with τ the (1-ρ)-quantile (arXiv 2506.01939). Of n distinct
/// entropies that is 1 + ⌊ρ(n - 1)⌋, exactly.
package enum TopEntropy: MaskRule {
    package static let name = "top"
    package static let source = "arXiv 2506.01939"
    package static let readsEntropy = true

    package static func ranks(_ share: Share, of count: Int, ties: EntropyMask.Ties) -> [Int] {
        ties == .quantile ? QuantilePlace(share.complement, of: count).ranks : [count - share.exactCount(of: count)]
    }

    package static func selector(
        _ share: Share, of count: Int, ties: EntropyMask.Ties, _ statistics: [OrderStatistic], seed: UInt64
    ) -> any TokenSelector {
        guard ties == .exactCount else {
            let place = QuantilePlace(share.complement, of: count)
            return Cut(atLeast: place.leastAbove(statistics), threshold: place.value(statistics))
        }
        let above = count - statistics[0].below - statistics[0].equal
        return CountedTies(value: statistics[0].value, keepsAbove: true, ties: share.exactCount(of: count) - above)
    }

    package static func isDecided(low: Float, high: Float, lowCut: Double, highCut: Double) -> Bool {
        Double(low) >= highCut || Double(high) < lowCut
    }
}
