/// Where in a rollout to go back to. A newcomer: one file, one line in the registry.
package protocol AnchorRule: Sendable {
    /// The recipe's word.
    static var name: String { get }
    static var source: String { get }
    static var readsEntropy: Bool { get }
    static var readsLogprobs: Bool { get }
    /// Needs a tokenizer.
    static var readsText: Bool { get }
    /// Whether it tells which of any two tokens is rather gone back to, in different rollouts too.
    static var ranksTokens: Bool { get }
    /// How much each token asks for it; empty where that isn't known, or for rules that don't rank.
    static func scores(of base: BaseRollout) -> [Float]
    /// Whether there is anything to go back to in a rollout that was chosen as a base.
    static func opens(_ base: BaseRollout) -> Bool
    /// Tokens to be sampled anew, as indices in `tokenIDs`: at most `count`, ascending, at least `gap` apart, never the
    /// response's first, because the prefix before it is the prompt itself, which is rolled out again anyway. `answer`:
    /// the final answer's own tokens, which are not worth a fork.
    static func positions(in base: BaseRollout, count: Int, gap: Int, answer: Range<Int>) -> [Int]
}

extension AnchorRule {
    package static var readsEntropy: Bool { false }
    package static var readsLogprobs: Bool { false }
    package static var readsText: Bool { false }
    package static var ranksTokens: Bool { false }
    package static func scores(of base: BaseRollout) -> [Float] { [] }
    package static func opens(_ base: BaseRollout) -> Bool { true }
}
