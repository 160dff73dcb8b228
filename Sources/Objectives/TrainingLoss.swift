/// All that a step's loss is made of: the objective, rollouts that it leaves out, and the terms beside it.
package struct TrainingLoss: Sendable {
    package var objective: any Objective = PPOClip()
    /// nil: none are left out.
    package var staleRows: StaleRows?
    package var kl = KLPenalty()
    package var auxiliary: AuxiliaryLoss?
    package var bonus: EntropyBonus?

    package init() {}

    /// Tokens whose outputs the loss or its derivatives depend on, [L].
    package func reads(_ sequence: SequenceInputs) -> [Bool] {
        var read = objective.reads(sequence)
        let others = [
            kl.reads(sequence), staleRows?.reads(sequence), auxiliary?.reads(sequence), bonus?.reads(sequence),
        ]
        for other in others.compactMap({ $0 }) { for t in read.indices where other[t] { read[t] = true } }
        return read
    }

    /// Whether old log-probabilities have a part in it.
    package var readsOldLogprobs: Bool {
        objective.readsOldLogprobs || staleRows?.against == .trainer || kl.readsOldLogprobs
    }

    /// Returns the loss of sequences that belong together and adds dL/doutput to `gradients`: all but what an entropy
    /// bonus says, which is no function of outputs.
    package func evaluate(unit: [SequenceInputs], gradients: inout [[Float]]) -> SequenceLoss {
        let stale = unit.map { staleRows?.isStale($0) ?? false }
        let weighed = zip(unit, stale).map { $1 ? $0.withoutWeights : $0 }
        var sum = objective.evaluate(unit: weighed, gradients: &gradients)
        sum.staleRows = stale.count { $0 }
        for (index, sequence) in unit.enumerated() {
            sum.loss += kl.evaluate(sequence, gradient: &gradients[index])
            sum.loss += auxiliary?.evaluate(sequence, gradient: &gradients[index]) ?? 0
        }
        return sum
    }
}

extension SequenceInputs {
    fileprivate var withoutWeights: SequenceInputs {
        var inputs = self
        inputs.weights = weights.map { _ in 0 }
        return inputs
    }
}
