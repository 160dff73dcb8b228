import Foundation

/// VESPO: l = -A · sg(φ(W)) · lp with W the ratio of the whole sequence, the product of its tokens', and φ(W) = exp(λ + k
/// log W - λ W), which is 1 at W = 1 and falls to both sides; k and λ by the sign of the advantage. W is kept within
/// 1e-8 and exp(20).
package struct VESPO: Objective {
    package static let name = "vespo"
    package static let source = "VESPO, arXiv 2602.10693; TRL vespo"

    /// Of tokens with A >= 0, and of the others.
    package var kPos = 2.0
    package var lambdaPos = 3.0
    package var kNeg = 3.0
    package var lambdaNeg = 2.0

    package init() {}

    package var problems: [String] {
        [("k_pos", kPos), ("lambda_pos", lambdaPos), ("k_neg", kNeg), ("lambda_neg", lambdaNeg)].filter {
            !($0.1 > 0)
        }.map { "\($0.0) is \($0.1); expected more than 0" }
    }

    /// Tokens' weights are not the place for what sampler and trainer disagree about: it belongs into W.
    package var takesCorrection: Bool { false }

    /// A token's weight hangs on the whole sequence.
    package func reads(_ sequence: SequenceInputs) -> [Bool] { sequence.wholeIfWeighted }

    package func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> SequenceLoss {
        var sum = SequenceLoss()
        guard sequence.mask.contains(true) else { return sum }
        let logRatio = min(max(sequence.logRatioSum, log(1e-8)), 20)
        sum.largestRatio = exp(logRatio)
        for t in sequence.positions {
            let advantage = Double(sequence.advantages[t])
            let slope = -Double(sequence.weights[t]) * advantage * weight(logRatio, isNegative: advantage < 0)
            sum.loss += slope * Double(sequence.logprobs[t])
            gradient[t] += Float(slope)
        }
        return sum
    }

    /// φ; 0 where it is no finite number.
    private func weight(_ logRatio: Double, isNegative: Bool) -> Double {
        let (k, lambda) = isNegative ? (kNeg, lambdaNeg) : (kPos, lambdaPos)
        let weight = exp(lambda + k * logRatio - lambda * exp(logRatio))
        return weight.isFinite ? weight : 0
    }
}
