/// Where in a rollout to go back to. A newcomer: one type, one line in the registry.
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

/// The tokens that the policy was least sure of: the paper's description.
package enum EntropyAnchors: AnchorRule {
    package static let name = "entropy"
    package static let source = "FR3E, arXiv 2507.07017"
    package static let readsEntropy = true

    package static func positions(in base: BaseRollout, count: Int, gap: Int, answer: Range<Int>) -> [Int] {
        highest(base.entropy, of: base.forks(sparing: answer), count: count, gap: gap)
    }
}

/// The least likely of the sampled tokens: the paper's code.
package enum SurprisalAnchors: AnchorRule {
    package static let name = "surprisal"
    package static let source = "code Zheng0428/FR3E, separate_by_prob"
    package static let readsLogprobs = true

    package static func positions(in base: BaseRollout, count: Int, gap: Int, answer: Range<Int>) -> [Int] {
        highest(base.logprobs.map { -$0 }, of: base.forks(sparing: answer), count: count, gap: gap)
    }
}

extension BaseRollout {
    /// Sampled tokens behind the response's first.
    fileprivate func forks(sparing answer: Range<Int>) -> [Int] {
        content.dropFirst().filter { mask[$0] && !answer.contains($0) }
    }
}

/// The `count` positions with the highest score, the lower one first among equals, at least `gap` apart; ascending.
/// None where no scores are known.
private func highest(_ scores: [Float], of eligible: [Int], count: Int, gap: Int) -> [Int] {
    guard !scores.isEmpty else { return [] }
    var chosen: [Int] = []
    for position in eligible.sorted(by: { scores[$0] != scores[$1] ? scores[$0] > scores[$1] : $0 < $1 }) {
        if chosen.count == count { break }
        if chosen.allSatisfy({ abs($0 - position) >= gap }) { chosen.append(position) }
    }
    return chosen.sorted()
}
