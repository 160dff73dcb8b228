/// Where in a rollout to go back to. A newcomer: one file, one line in the registry.
package protocol AnchorRule: Sendable {
    /// The recipe's word.
    static var name: String { get }
    static var source: String { get }
    static var readsEntropy: Bool { get }
    static var readsLogprobs: Bool { get }
    /// Needs a tokenizer.
    static var readsText: Bool { get }
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
    package static func opens(_ base: BaseRollout) -> Bool { true }
}
