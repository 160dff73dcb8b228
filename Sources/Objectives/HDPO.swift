/// H-DPO on a pair, chosen first: h = αβ(LP_w - LP_l) - β(LR_w - LR_l), loss softplus(-h), with LP and LR sums over
/// response tokens under policy and reference. α = 1 is DPO; below 1 the policy gets sharper, above flatter. The pair's
/// weight is the sum of its two sequences' weights (1 / pairs with sequence_mean_token_sum).
package struct HDPO: Objective {
    package static let name = "h_dpo"
    package static let source = "H-DPO, arXiv 2411.07595; DPO, arXiv 2305.18290"

    package var alpha = 1.0
    package var beta = 0.1

    package init() {}

    package var problems: [String] {
        (alpha > 0 ? [] : ["alpha is \(alpha); expected more than 0"])
            + (beta > 0 ? [] : ["beta is \(beta); expected more than 0"])
    }
    package var readsOldLogprobs: Bool { false }
    package var readsAdvantages: Bool { false }
    package var reference: Reference? { .policy }
    package var measure: Measure? { .rewardMargin }
    package var readsPairs: Bool { true }
    package var isPerSequence: Bool { true }

    /// A sequence alone is no pair.
    package func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> SequenceLoss { SequenceLoss() }

    package func evaluate(unit: [SequenceInputs], gradients: inout [[Float]]) -> SequenceLoss {
        guard unit.count == 2 else { return SequenceLoss() }
        let margin = implicitReward(unit[0]) - implicitReward(unit[1]),
            weight = unit.reduce(0) { $0 + sequenceWeight($1) }
        var result = SequenceLoss()
        result.loss = weight * softplus(-margin)
        (result.measure, result.measured) = (margin, 1)
        let slope = weight * alpha * beta * sigmoid(-margin)
        for (index, sign) in [(0, -1.0), (1, 1.0)] {
            for t in unit[index].positions { gradients[index][t] += Float(sign * slope) }
        }
        return result
    }

    /// αβ Σ lp - β Σ lp_ref
    private func implicitReward(_ sequence: SequenceInputs) -> Double {
        sequence.positions.reduce(0) {
            $0 + alpha * beta * Double(sequence.logprobs[$1]) - beta * Double(sequence.referenceLogprobs?[$1] ?? 0)
        }
    }

    private func sequenceWeight(_ sequence: SequenceInputs) -> Double {
        sequence.positions.first.map { Double(sequence.weights[$0]) } ?? 0
    }
}
