/// ETPO's critic: Huber(target - Q(s, w)) with Q the raw logit of the token under the Q network, targets from the plan.
package struct ETPOQ: Objective {
    package static let name = "etpo_q"
    package static let source = "ETPO, arXiv 2402.06700; code morning9393/ETPO"

    /// δ of the Huber loss: squared within, linear beyond.
    package var huber = 10.0
    /// After the steps, the target network moves towards the trained one: target ← polyak · target + (1 - polyak) · Q.
    package var polyak = 0.995

    package init() {}

    package var problems: [String] {
        (huber > 0 ? [] : ["huber is \(huber); expected more than 0"])
            + ((0...1).contains(polyak) ? [] : ["polyak is \(polyak); expected 0 to 1"])
    }
    package var output: ModelOutput { .tokenLogit }
    package var targetDecay: Double? { polyak }
    package var readsOldLogprobs: Bool { false }
    package var readsAdvantages: Bool { false }
    package var measure: Measure? { .valueError }
    package var readsReturns: Bool { true }

    package func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> SequenceLoss {
        var sum = SequenceLoss()
        guard let returns = sequence.returns else { return sum }
        for t in sequence.mask.indices where sequence.mask[t] {
            let error = Double(sequence.outputs[t]) - Double(returns[t]), weight = Double(sequence.weights[t])
            let size = abs(error)
            sum.loss += weight * (size <= huber ? 0.5 * error * error : huber * (size - 0.5 * huber))
            (sum.measure, sum.measured) = (sum.measure + error * error, sum.measured + 1)
            gradient[t] += Float(weight * min(max(error, -huber), huber))
        }
        return sum
    }
}
