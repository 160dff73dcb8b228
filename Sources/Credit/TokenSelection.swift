import Randomness

/// Which of a scope's tokens a mask keeps. A newcomer: one type, one line in the registry, a key in `EntropyMask`.
package protocol TokenSelection: Sendable {
    /// The recipe's key, whose value is the share of tokens kept.
    static var name: String { get }
    static var source: String { get }
    static var readsEntropy: Bool { get }
    /// Ranks, from 0 and ascending, among `count` entropies that decide where to cut.
    static func ranks(_ share: Double, of count: Int, ties: EntropyMask.Ties) -> [Int]
    /// What goes through a scope's tokens in order. `statistics` are those of `ranks`; `seed` decides a random choice.
    static func selector(_ share: Double, of count: Int, ties: EntropyMask.Ties, _ statistics: [OrderStatistic], seed: UInt64) -> any TokenSelector
    /// Whether a token known to lie in low…high is kept, or left out, whatever its entropy is. The cuts are those of all lower and of all
    /// upper bounds: the true one lies between them.
    static func isDecided(low: Float, high: Float, lowCut: Double, highCut: Double) -> Bool
}

/// Goes through the tokens of a scope, row by row in their order.
package protocol TokenSelector: Sendable {
    /// The entropy where it cuts; nil where it reads none.
    var threshold: Double? { get }
    /// Whether a row's marks depend on the rows before it.
    var remembers: Bool { get }
    /// Marks of a row's tokens; false outside `mask`.
    mutating func marks(_ entropy: [Float], _ mask: [Bool]) -> [Bool]
    /// What it must know of a row to say how many of its tokens it marks, whatever the rows before it are. `entropy`: of trainable tokens.
    func census(_ entropy: UnsafeBufferPointer<Float>) -> TokenCensus
    /// How many tokens of a row it marks; rows in their order.
    mutating func count(_ row: TokenCensus) -> Int
}

/// A row as a selector sees it that only counts.
package struct TokenCensus: Sendable {
    /// Trainable ones.
    var tokens: Int
    /// Kept whatever the rows before are.
    var kept = 0
    /// Kept as long as the scope's share lasts.
    var ties = 0
}

package enum TokenSelectionRegistry {
    package static let all: [any TokenSelection.Type] = [BottomEntropy.self, RandomTokens.self, TopEntropy.self]
}

extension TokenSelection {
    /// The selector of a scope that is in memory.
    static func selector(_ entropies: [Float], share: Double, ties: EntropyMask.Ties, seed: UInt64) -> any TokenSelector {
        let statistics = orderStatistics(entropies, ranks: ranks(share, of: entropies.count, ties: ties))
        return selector(share, of: entropies.count, ties: ties, statistics, seed: seed)
    }
}

/// max(1, ⌈share · n⌉). 1e-9: 0.2 · 5 must give 1 although 0.2 is a little more than a fifth.
func exactCount(_ share: Double, of count: Int) -> Int { min(count, max(1, Int((share * Double(count) - 1e-9).rounded(.up)))) }

/// The share ρ of tokens with the highest entropy: H ≥ τ with τ the (1-ρ)-quantile (arXiv 2506.01939).
package enum TopEntropy: TokenSelection {
    package static let name = "top"
    package static let source = "arXiv 2506.01939"
    package static let readsEntropy = true

    package static func ranks(_ share: Double, of count: Int, ties: EntropyMask.Ties) -> [Int] {
        ties == .quantile ? QuantilePlace(1 - share, of: count).ranks : [count - exactCount(share, of: count)]
    }

    package static func selector(_ share: Double, of count: Int, ties: EntropyMask.Ties, _ statistics: [OrderStatistic], seed: UInt64) -> any TokenSelector {
        guard ties == .exactCount else { return Cut(atLeast: QuantilePlace(1 - share, of: count).value(statistics)) }
        let above = count - statistics[0].below - statistics[0].equal
        return CountedTies(value: statistics[0].value, keepsAbove: true, ties: exactCount(share, of: count) - above)
    }

    package static func isDecided(low: Float, high: Float, lowCut: Double, highCut: Double) -> Bool { Double(low) >= highCut || Double(high) < lowCut }
}

/// The share ρ of tokens with the lowest entropy: H ≤ τ with τ the ρ-quantile. The papers' control: with ρ = 0.8 it is what
/// top 0.2 leaves out.
package enum BottomEntropy: TokenSelection {
    package static let name = "bottom"
    package static let source = "arXiv 2506.01939, control"
    package static let readsEntropy = true

    package static func ranks(_ share: Double, of count: Int, ties: EntropyMask.Ties) -> [Int] {
        ties == .quantile ? QuantilePlace(share, of: count).ranks : [exactCount(share, of: count) - 1]
    }

    package static func selector(_ share: Double, of count: Int, ties: EntropyMask.Ties, _ statistics: [OrderStatistic], seed: UInt64) -> any TokenSelector {
        guard ties == .exactCount else { return Cut(atMost: QuantilePlace(share, of: count).value(statistics)) }
        return CountedTies(value: statistics[0].value, keepsAbove: false, ties: exactCount(share, of: count) - statistics[0].below)
    }

    package static func isDecided(low: Float, high: Float, lowCut: Double, highCut: Double) -> Bool { Double(high) <= lowCut || Double(low) > highCut }
}

/// A share ρ of tokens drawn at random whatever their entropy: the control for "fewer tokens". Exactly max(1, ⌈ρn⌉), each set
/// equally likely.
package enum RandomTokens: TokenSelection {
    package static let name = "random"
    package static let source = "arXiv 2506.01939, control"
    package static let readsEntropy = false

    package static func ranks(_ share: Double, of count: Int, ties: EntropyMask.Ties) -> [Int] { [] }

    package static func selector(_ share: Double, of count: Int, ties: EntropyMask.Ties, _ statistics: [OrderStatistic], seed: UInt64) -> any TokenSelector {
        Drawn(random: SplitMix64(seed: seed), left: exactCount(share, of: count), unseen: count)
    }

    package static func isDecided(low: Float, high: Float, lowCut: Double, highCut: Double) -> Bool { true }
}

/// H ≥ τ, or H ≤ τ. Compared in float32 with the nearest float on the side that is kept, which is the same question.
private struct Cut: TokenSelector {
    let threshold: Double?
    private var lowest = -Float.infinity
    private var highest = Float.infinity

    init(atLeast threshold: Double) {
        self.threshold = threshold
        let nearest = Float(threshold)
        lowest = Double(nearest) < threshold ? nearest.nextUp : nearest
    }

    init(atMost threshold: Double) {
        self.threshold = threshold
        let nearest = Float(threshold)
        highest = Double(nearest) > threshold ? nearest.nextDown : nearest
    }

    var remembers: Bool { false }

    /// Without a branch per token, so that many are done at a time.
    func marks(_ entropy: [Float], _ mask: [Bool]) -> [Bool] {
        precondition(entropy.count == mask.count, "a row's columns have one length")
        let (lowest, highest) = (lowest, highest)
        var marks = mask
        entropy.withUnsafeBufferPointer { entropy in
            marks.withUnsafeMutableBytes { marks in
                for t in 0..<entropy.count {
                    let within: UInt8 = entropy[t] >= lowest ? 1 : 0, below: UInt8 = entropy[t] <= highest ? 1 : 0
                    marks[t] = within & below & marks[t]
                }
            }
        }
        return marks
    }

    func census(_ entropy: UnsafeBufferPointer<Float>) -> TokenCensus {
        // A local copy of the bounds, and 32-bit sums of 0 and 1: what a compiler makes vectors of.
        let (lowest, highest) = (lowest, highest)
        var count: UInt32 = 0
        for value in entropy {
            let within: UInt32 = value >= lowest ? 1 : 0, below: UInt32 = value <= highest ? 1 : 0
            count &+= within & below
        }
        return TokenCensus(tokens: entropy.count, kept: Int(count))
    }

    func count(_ row: TokenCensus) -> Int { row.kept }
}

/// Everything beyond a value, and of what equals it the first few.
private struct CountedTies: TokenSelector {
    let value: Float
    let keepsAbove: Bool
    var ties: Int

    var threshold: Double? { Double(value) }
    var remembers: Bool { true }

    mutating func marks(_ entropy: [Float], _ mask: [Bool]) -> [Bool] {
        var marks = mask
        for t in mask.indices where mask[t] { marks[t] = keeps(entropy[t]) }
        return marks
    }

    func census(_ entropy: UnsafeBufferPointer<Float>) -> TokenCensus {
        let (value, keepsAbove) = (value, keepsAbove)
        var equal: UInt32 = 0, above: UInt32 = 0
        for entropy in entropy {
            equal &+= entropy == value ? 1 : 0
            above &+= entropy > value ? 1 : 0
        }
        return TokenCensus(tokens: entropy.count, kept: keepsAbove ? Int(above) : entropy.count - Int(above &+ equal), ties: Int(equal))
    }

    mutating func count(_ row: TokenCensus) -> Int {
        let kept = row.kept + min(max(0, ties), row.ties)
        ties -= row.ties
        return kept
    }

    private mutating func keeps(_ entropy: Float) -> Bool {
        guard entropy == value else { return (entropy > value) == keepsAbove }
        ties -= 1
        return ties >= 0
    }
}

/// So many of the tokens that are still to come, each set equally likely.
private struct Drawn: TokenSelector {
    var random: SplitMix64
    var left: Int
    var unseen: Int

    var threshold: Double? { nil }
    var remembers: Bool { true }

    mutating func marks(_ entropy: [Float], _ mask: [Bool]) -> [Bool] {
        var marks = mask
        for t in mask.indices where mask[t] { marks[t] = draw() }
        return marks
    }

    func census(_ entropy: UnsafeBufferPointer<Float>) -> TokenCensus { TokenCensus(tokens: entropy.count) }

    mutating func count(_ row: TokenCensus) -> Int { (0..<row.tokens).count { _ in draw() } }

    private mutating func draw() -> Bool {
        let isDrawn = Double(left) > random.uniform() * Double(unseen)
        left -= isDrawn ? 1 : 0
        unseen -= 1
        return isDrawn
    }
}
