/// The tokens that the policy was least sure of: the paper's description.
package enum EntropyAnchors: AnchorRule {
    package static let name = "entropy"
    package static let source = "FR3E, arXiv 2507.07017"
    package static let readsEntropy = true
    package static let ranksTokens = true

    package static func scores(of base: BaseRollout) -> [Float] { base.entropy }

    package static func positions(in base: BaseRollout, count: Int, gap: Int, answer: Range<Int>) -> [Int] {
        highest(scores(of: base), of: base.forks(sparing: answer), count: count, gap: gap)
    }
}
