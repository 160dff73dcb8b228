/// KL-Cov: l = -A r for every token, without a clip; the share of tokens with the largest covariance also pays coef ·
/// |lp - lp_old|.
package struct KLCov: Objective {
    package static let name = "kl_cov"
    package static let source = "KL-Cov, arXiv 2505.22617; verl core_algos"

    /// Share of the step's tokens that pay, at least one.
    package var ratio = 2e-4
    package var coef = 1.0

    package init() {}

    package var problems: [String] {
        ratio > 0 && ratio <= 1 && coef >= 0
            ? [] : ["ratio \(ratio), coef \(coef); expected more than 0 and at most 1, and 0 or more"]
    }
    package var selectsTokens: Bool { true }

    package func selection(_ step: [SequenceInputs], seed: UInt64) -> [[Bool]]? {
        let covariance = StepCovariance(step), count = max(1, Int(Double(covariance.values.count) * ratio))
        let largest = covariance.values.indices.sorted { (covariance.values[$0], $1) > (covariance.values[$1], $0) }
            .prefix(count)
        return covariance.selection(step, Array(largest))
    }

    package func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> SequenceLoss {
        var sum = SequenceLoss()
        for t in sequence.mask.indices where sequence.mask[t] {
            let ratio = ImportanceRatio(sequence.logprobs[t], sequence.oldLogprobs[t]),
                weight = Double(sequence.weights[t])
            let surrogate = -Double(sequence.advantages[t]) * ratio.value
            sum.loss += weight * surrogate
            sum.largestRatio = max(sum.largestRatio, ratio.value)
            if !ratio.isClamped { gradient[t] += Float(weight * surrogate) }
            guard sequence.selected?[t] == true else { continue }
            let difference = Double(sequence.logprobs[t]) - Double(sequence.oldLogprobs[t])
            sum.loss += weight * coef * abs(difference)
            gradient[t] += Float(weight * coef * sign(ofLogRatio: difference))
        }
        return sum
    }
}
