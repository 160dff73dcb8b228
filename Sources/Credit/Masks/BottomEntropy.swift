import Quantiles

/// The share ρ of tokens with the lowest entropy: H ≤ τ with τ the ρ-quantile. The papers' control: with ρ = 0.8 it is
/// what top 0.2 leaves out.
package enum BottomEntropy: MaskRule {
    package static let name = "bottom"
    package static let source = "arXiv 2506.01939, control"
    package static let readsEntropy = true

    package static func ranks(_ share: Share, of count: Int, ties: EntropyMask.Ties) -> [Int] {
        ties == .quantile ? QuantilePlace(share, of: count).ranks : [share.exactCount(of: count) - 1]
    }

    package static func selector(
        _ share: Share, of count: Int, ties: EntropyMask.Ties, _ statistics: [OrderStatistic], seed: UInt64
    ) -> any TokenSelector {
        guard ties == .exactCount else {
            let place = QuantilePlace(share, of: count)
            return Cut(atMost: place.mostBelow(statistics), threshold: place.value(statistics))
        }
        let ties = share.exactCount(of: count) - statistics[0].below
        return CountedTies(value: statistics[0].value, keepsAbove: false, ties: ties)
    }

    package static func isDecided(low: Float, high: Float, lowCut: Double, highCut: Double) -> Bool {
        Double(high) <= lowCut || Double(low) > highCut
    }
}
