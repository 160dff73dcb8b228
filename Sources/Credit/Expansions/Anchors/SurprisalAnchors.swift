/// The least likely of the sampled tokens: the paper's code.
package enum SurprisalAnchors: AnchorRule {
    package static let name = "surprisal"
    package static let source = "code Zheng0428/FR3E, separate_by_prob"
    package static let readsLogprobs = true
    package static let ranksTokens = true

    package static func scores(of base: BaseRollout) -> [Float] { base.logprobs.map { -$0 } }

    package static func positions(in base: BaseRollout, count: Int, gap: Int, answer: Range<Int>) -> [Int] {
        highest(scores(of: base), of: base.forks(sparing: answer), count: count, gap: gap)
    }
}
