/// l = -A · lp: plain weighted likelihood, on the policy's own correct samples for RAFT. Reads no old
/// log-probabilities.
package struct NLL: Objective {
    package static let name = "nll"
    package static let source = "RAFT as in Reinforce-Rej, arXiv 2504.11343"

    package init() {}

    package var readsOldLogprobs: Bool { false }

    package func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> SequenceLoss {
        var sum = SequenceLoss()
        for t in sequence.mask.indices where sequence.mask[t] {
            let scale = -Double(sequence.weights[t]) * Double(sequence.advantages[t])
            sum.loss += scale * Double(sequence.logprobs[t])
            gradient[t] += Float(scale)
        }
        return sum
    }
}
