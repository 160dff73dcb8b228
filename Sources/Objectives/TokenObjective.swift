/// A sampled token as a loss of single tokens sees it.
package struct SampledToken: Sendable {
    let advantage: Double
    let logprob: Double
    let oldLogprob: Double
    /// Shaped reward of its rollout.
    let reward: Double

    init(_ sequence: SequenceInputs, _ t: Int) {
        (advantage, reward) = (Double(sequence.advantages[t]), sequence.reward)
        (logprob, oldLogprob) = (Double(sequence.logprobs[t]), Double(sequence.oldLogprobs[t]))
    }

    var ratio: ImportanceRatio { ImportanceRatio(Float(logprob), Float(oldLogprob)) }
    /// log(π / π_old), without a bound.
    var logRatio: Double { logprob - oldLogprob }
}

/// What such a loss says of one token.
package struct TokenTerm: Sendable {
    enum Bound: Sendable { case none, low, high }

    let loss: Double
    /// By the token's log-probability.
    let derivative: Double
    /// The bound that binds.
    var bound = Bound.none
}

/// An objective whose terms each read one token alone.
package protocol TokenObjective: Objective {
    func term(_ token: SampledToken) -> TokenTerm
}

extension TokenObjective {
    package func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> SequenceLoss {
        var sum = SequenceLoss()
        for t in sequence.mask.indices where sequence.mask[t] {
            let token = SampledToken(sequence, t), term = term(token), weight = Double(sequence.weights[t])
            sum.loss += weight * term.loss
            gradient[t] += Float(weight * term.derivative)
            sum.largestRatio = max(sum.largestRatio, readsOldLogprobs ? token.ratio.value : 0)
            switch term.bound {
            case .none: break
            case .low: sum.clippedLow += 1
            case .high: sum.clippedHigh += 1
            }
        }
        return sum
    }
}
