import Quantiles

/// Which of a scope's tokens a mask keeps. A newcomer: one file, one line in the registry, a key in `EntropyMask`.
package protocol MaskRule: Sendable {
    /// The recipe's key, whose value is the share of tokens kept.
    static var name: String { get }
    static var source: String { get }
    static var readsEntropy: Bool { get }
    /// Ranks, from 0 and ascending, among `count` entropies that decide where to cut.
    static func ranks(_ share: Share, of count: Int, ties: EntropyMask.Ties) -> [Int]
    /// What goes through a scope's tokens in order. `statistics` are those of `ranks`; `seed` decides a random choice.
    static func selector(
        _ share: Share, of count: Int, ties: EntropyMask.Ties, _ statistics: [OrderStatistic], seed: UInt64
    ) -> any TokenSelector
    /// Whether a token known to lie in low…high is kept, or left out, whatever its entropy is. The cuts are those of
    /// all lower and of all upper bounds: the true one lies between them.
    static func isDecided(low: Float, high: Float, lowCut: Double, highCut: Double) -> Bool
}

/// Goes through the tokens of a scope, row by row in their order.
package protocol TokenSelector: Sendable {
    /// The entropy where it cuts; nil where it reads none.
    var threshold: Double? { get }
    /// What it knows of the rows before, where a row's marks depend on them: to go on from there later. nil where they
    /// don't.
    var memory: SelectorMemory? { get set }
    /// Marks of a row's tokens; false outside `mask`.
    mutating func marks(_ entropy: [Float], _ mask: [Bool]) -> [Bool]
    /// What it must know of a row to say how many of its tokens it marks, whatever the rows before it are. `entropy`:
    /// of trainable tokens.
    func census(_ entropy: UnsafeBufferPointer<Float>) -> TokenCensus
    /// The same where some entropies are only known to lie above all that `near` can be cut by, or below it.
    func census(_ near: UnsafeBufferPointer<Float>, above: Int, below: Int) -> TokenCensus
    /// How many tokens of a row it marks; rows in their order.
    mutating func count(_ row: TokenCensus) -> Int
}

/// Where a selector stands among its scope's tokens.
package struct SelectorMemory: BitwiseCopyable, Equatable, Sendable {
    /// Tokens that it may still keep.
    var left: Int
    /// Tokens to come, and the state of its random numbers, where it draws.
    var unseen = 0
    var random: UInt64 = 0
}

extension TokenSelector {
    package var memory: SelectorMemory? {
        get { nil }
        set {}
    }
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

extension MaskRule {
    /// The selector of a scope that is in memory.
    static func selector(_ entropies: [Float], share: Share, ties: EntropyMask.Ties, seed: UInt64) -> any TokenSelector
    {
        let statistics = orderStatistics(entropies, ranks: ranks(share, of: entropies.count, ties: ties))
        return selector(share, of: entropies.count, ties: ties, statistics, seed: seed)
    }
}
