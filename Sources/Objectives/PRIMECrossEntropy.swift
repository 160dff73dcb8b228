/// Trains PRIME's implicit reward model on outcomes: s = β Σ_t (lp - lp_ref), loss BCE(sigmoid(s), correct), with the
/// shaped reward (0 to 1) as the outcome.
package struct PRIMECrossEntropy: Objective {
    package static let name = "prime_ce"
    package static let source = "PRIME, arXiv 2502.01456; verl-recipe prime"

    package var beta = 0.05

    package init() {}

    package var problems: [String] { beta > 0 ? [] : ["beta is \(beta); expected more than 0"] }
    package var readsOldLogprobs: Bool { false }
    package var readsAdvantages: Bool { false }
    /// A target beyond 0 and 1 has no finite optimum.
    package var rewardRange: ClosedRange<Double>? { 0...1 }
    package var reference: Reference? { .process }
    package var measure: Measure? { .rewardAccuracy }
    package var isPerSequence: Bool { true }

    package func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> SequenceLoss {
        var result = SequenceLoss()
        let positions = sequence.positions
        guard let first = positions.first else { return result }
        let score =
            beta
            * positions.reduce(0) { $0 + Double(sequence.logprobs[$1]) - Double(sequence.referenceLogprobs?[$1] ?? 0) }
        let weight = Double(sequence.weights[first])
        // BCE with logits: softplus(s) - s·y
        result.loss = weight * (softplus(score) - score * sequence.reward)
        (result.measure, result.measured) = ((score > 0) == (sequence.reward > 0.5) ? 1 : 0, 1)
        for t in positions { gradient[t] += Float(weight * beta * (sigmoid(score) - sequence.reward)) }
        return result
    }
}
