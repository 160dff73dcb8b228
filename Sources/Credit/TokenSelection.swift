import Randomness

/// Which of a scope's tokens a mask keeps. A newcomer: one type, one line in the registry, a key in `EntropyMask`.
package protocol TokenSelection: Sendable {
    /// The recipe's key, whose value is the share of tokens kept.
    static var name: String { get }
    static var source: String { get }
    static var readsEntropy: Bool { get }
    /// The mask over one scope's tokens, and the entropy where it cuts. `entropies` are those of trainable tokens in row order.
    static func keep(_ entropies: [Float], share: Double, ties: EntropyMask.Ties, random: inout SplitMix64) -> (kept: [Bool], threshold: Double?)
}

package enum TokenSelectionRegistry {
    package static let all: [any TokenSelection.Type] = [BottomEntropy.self, RandomTokens.self, TopEntropy.self]
}

/// max(1, ⌈share · n⌉). 1e-9: 0.2 · 5 must give 1 although 0.2 is a little more than a fifth.
func exactCount(_ share: Double, of count: Int) -> Int { min(count, max(1, Int((share * Double(count) - 1e-9).rounded(.up)))) }

/// The share ρ of tokens with the highest entropy: H ≥ τ with τ the (1-ρ)-quantile (arXiv 2506.01939).
package enum TopEntropy: TokenSelection {
    package static let name = "top"
    package static let source = "arXiv 2506.01939"
    package static let readsEntropy = true

    package static func keep(_ entropies: [Float], share: Double, ties: EntropyMask.Ties, random: inout SplitMix64) -> (kept: [Bool], threshold: Double?) {
        guard ties == .quantile else { return keepExactly(entropies, exactCount(share, of: entropies.count)) }
        let threshold = quantile(entropies, 1 - share) ?? 0
        return (entropies.map { Double($0) >= threshold }, threshold)
    }

    private static func keepExactly(_ entropies: [Float], _ count: Int) -> ([Bool], Double?) {
        var sorted = entropies
        let threshold = select(&sorted, entropies.count - count)
        var ties = count - entropies.count { $0 > threshold }
        let kept = entropies.map { entropy in
            if entropy > threshold { return true }
            guard entropy == threshold, ties > 0 else { return false }
            ties -= 1
            return true
        }
        return (kept, Double(threshold))
    }
}

/// The share ρ of tokens with the lowest entropy: H ≤ τ with τ the ρ-quantile. The papers' control: with ρ = 0.8 it is what
/// top 0.2 leaves out.
package enum BottomEntropy: TokenSelection {
    package static let name = "bottom"
    package static let source = "arXiv 2506.01939, control"
    package static let readsEntropy = true

    package static func keep(_ entropies: [Float], share: Double, ties: EntropyMask.Ties, random: inout SplitMix64) -> (kept: [Bool], threshold: Double?) {
        guard ties == .quantile else {
            let (kept, threshold) = TopEntropy.keep(entropies.map { -$0 }, share: share, ties: ties, random: &random)
            return (kept, threshold.map { -$0 })
        }
        let threshold = quantile(entropies, share) ?? 0
        return (entropies.map { Double($0) <= threshold }, threshold)
    }
}

/// A share ρ of tokens drawn at random whatever their entropy: the control for "fewer tokens". Exactly max(1, ⌈ρn⌉), each set
/// equally likely.
package enum RandomTokens: TokenSelection {
    package static let name = "random"
    package static let source = "arXiv 2506.01939, control"
    package static let readsEntropy = false

    package static func keep(_ entropies: [Float], share: Double, ties: EntropyMask.Ties, random: inout SplitMix64) -> (kept: [Bool], threshold: Double?) {
        var left = exactCount(share, of: entropies.count)
        let kept = entropies.indices.map { index in
            let isKept = Double(left) > random.uniform() * Double(entropies.count - index)
            left -= isKept ? 1 : 0
            return isKept
        }
        return (kept, nil)
    }
}
