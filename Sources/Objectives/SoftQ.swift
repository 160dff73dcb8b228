import Foundation

/// ETPO's critic: Huber(target - Q(s, w)) with Q the raw logit of the token under the Q network, targets from the plan.
package struct SoftQ: Objective {
    package static let name = "etpo_q"
    package static let source = "ETPO, arXiv 2402.06700; code morning9393/ETPO"

    /// δ of the Huber loss: squared within, linear beyond.
    package var huber = 10.0
    /// After the steps, the target network moves towards the trained one: target ← polyak · target + (1 - polyak) · Q.
    package var polyak = 0.995

    package init() {}

    package var problems: [String] {
        (huber > 0 ? [] : ["huber is \(huber); expected more than 0"]) + ((0...1).contains(polyak) ? [] : ["polyak is \(polyak); expected 0 to 1"])
    }
    package var output: ModelOutput { .tokenLogit }
    package var targetDecay: Double? { polyak }
    package var readsOldLogprobs: Bool { false }
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

/// ETPO's policy step: KL(π || π*) of each state, π* ∝ reference · exp(Q/β) over the whole vocabulary. With `target:
/// monte_carlo` only the sampled token has a Q, its advantage: π* ∝ reference · exp(1[v = w] A/β), |A/β| kept within 10.
package struct SoftPolicy: Objective {
    package static let name = "etpo_policy"
    package static let source = "ETPO, arXiv 2402.06700, the paper's form"

    package enum Target: String, Codable, CaseIterable, Sendable {
        case qNetwork = "q_network"
        case monteCarlo = "monte_carlo"
    }

    package var beta = 0.01
    package var target = Target.qNetwork

    package init() {}

    package var problems: [String] { beta > 0 ? [] : ["beta is \(beta); expected more than 0"] }
    package var output: ModelOutput { .divergence }
    package var measure: Measure? { .targetDivergence }
    package var boltzmann: BoltzmannSettings? { BoltzmannSettings(beta: beta, readsQNetwork: target == .qNetwork) }
    package var readsOldLogprobs: Bool { false }

    /// The outputs are the divergences themselves.
    package func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> SequenceLoss {
        var sum = SequenceLoss()
        for t in sequence.mask.indices where sequence.mask[t] {
            sum.loss += Double(sequence.weights[t]) * Double(sequence.outputs[t])
            (sum.measure, sum.measured) = (sum.measure + Double(sequence.outputs[t]), sum.measured + 1)
            gradient[t] += sequence.weights[t]
        }
        return sum
    }
}
