import Foundation

/// Tapered off-policy REINFORCE: rollouts with a positive shaped reward are plain likelihood, l = -A · lp; of the others
/// the ratio tapers off what the policy has already left, l = -A · sg(min(r, 1)) · lp. The ratio is a token's (ROLL), or
/// the product over the rollout's trainable tokens (the paper).
package struct TOPR: Objective {
    package static let name = "topr"
    package static let source = "TOPR, arXiv 2503.14286; ROLL"

    package enum Level: String, Codable, CaseIterable, Sendable {
        case token
        case sequenceSum = "sequence_sum"
    }

    package var level = Level.token

    package init() {}

    package func reads(_ sequence: SequenceInputs) -> [Bool] {
        level == .token || sequence.reward > 0 ? sequence.weighted : sequence.wholeIfWeighted
    }

    package func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> SequenceLoss {
        var sum = SequenceLoss()
        let product = exp(min(max(sequence.logRatioSum, -20), 20))
        for t in sequence.positions {
            let ratio =
                level == .token ? ImportanceRatio(sequence.logprobs[t], sequence.oldLogprobs[t]).value : product
            let taper = sequence.reward > 0 ? 1 : min(ratio, 1)
            let slope = -Double(sequence.weights[t]) * Double(sequence.advantages[t]) * taper
            sum.loss += slope * Double(sequence.logprobs[t])
            gradient[t] += Float(slope)
            sum.largestRatio = max(sum.largestRatio, ratio)
            if taper < ratio { sum.clippedHigh += 1 }
        }
        return sum
    }
}
