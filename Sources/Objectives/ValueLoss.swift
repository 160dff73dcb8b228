/// A critic's loss: l = ½ max((v - G)², (clamp(v, v_old ± clip) - G)²), with the returns G of the plan's estimator.
package struct ValueLoss: Objective {
    package static let name = "value"
    package static let source = "PPO, arXiv 1707.06347; verl core_algos"

    /// null is no clipping.
    package var clip: Double? = 0.5

    package init() {}

    package var problems: [String] { clip.map { $0 > 0 ? [] : ["clip is \($0); expected more than 0, or null"] } ?? [] }
    package var output: ModelOutput { .value }
    package var readsOldLogprobs: Bool { false }
    package var readsAdvantages: Bool { false }
    package var measure: Measure? { .valueError }
    package var readsReturns: Bool { true }

    package func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> SequenceLoss {
        var sum = SequenceLoss()
        guard let returns = sequence.returns else { return sum }
        for t in sequence.mask.indices where sequence.mask[t] {
            let value = Double(sequence.outputs[t]), target = Double(returns[t]), weight = Double(sequence.weights[t])
            let old = sequence.oldValues.map { Double($0[t]) } ?? value, bound = clip ?? .infinity
            let clipped = min(max(value, old - bound), old + bound)
            let plain = (value - target) * (value - target), bounded = (clipped - target) * (clipped - target)
            sum.loss += 0.5 * weight * max(plain, bounded)
            (sum.measure, sum.measured) = (sum.measure + plain, sum.measured + 1)
            if bounded > plain { sum.clippedHigh += 1 } else { gradient[t] += Float(weight * (value - target)) }
        }
        return sum
    }
}
