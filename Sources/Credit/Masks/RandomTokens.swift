import Quantiles
import Randomness

/// A share ρ of tokens drawn at random whatever their entropy: the control for "fewer tokens". Exactly max(1, ⌈ρn⌉),
/// each set equally likely.
package enum RandomTokens: MaskRule {
    package static let name = "random"
    package static let source = "arXiv 2506.01939, control"
    package static let readsEntropy = false

    package static func ranks(_ share: Share, of count: Int, ties: EntropyMask.Ties) -> [Int] { [] }

    package static func selector(
        _ share: Share, of count: Int, ties: EntropyMask.Ties, _ statistics: [OrderStatistic], seed: UInt64
    ) -> any TokenSelector {
        Drawn(random: SplitMix64(seed: seed), left: share.exactCount(of: count), unseen: count)
    }

    package static func isDecided(low: Float, high: Float, lowCut: Double, highCut: Double) -> Bool { true }
}

/// So many of the tokens that are still to come, each set equally likely.
private struct Drawn: TokenSelector {
    var random: SplitMix64
    var left: Int
    var unseen: Int

    var threshold: Double? { nil }

    var memory: SelectorMemory? {
        get { SelectorMemory(left: left, unseen: unseen, random: random.state) }
        set {
            if let newValue {
                (left, unseen, random) = (newValue.left, newValue.unseen, SplitMix64(seed: newValue.random))
            }
        }
    }

    mutating func marks(_ entropy: [Float], _ mask: [Bool]) -> [Bool] {
        var marks = mask
        for t in mask.indices where mask[t] { marks[t] = draw() }
        return marks
    }

    func census(_ entropy: UnsafeBufferPointer<Float>) -> TokenCensus { TokenCensus(tokens: entropy.count) }
    func census(_ near: UnsafeBufferPointer<Float>, above: Int, below: Int) -> TokenCensus {
        TokenCensus(tokens: near.count + above + below)
    }

    mutating func count(_ row: TokenCensus) -> Int { (0..<row.tokens).count { _ in draw() } }

    private mutating func draw() -> Bool {
        let isDrawn = Double(left) > random.uniform() * Double(unseen)
        left -= isDrawn ? 1 : 0
        unseen -= 1
        return isDrawn
    }
}
