/// A likelihood beside the objective, with a denominator of its own: coef · Σ auxiliary weight · (-lp).
package struct AuxiliaryLoss: Codable, Sendable {
    package enum Kind: String, Codable, CaseIterable, Sendable {
        /// the mean over the tokens of right answers (VAPO)
        case positiveNLL = "positive_nll"
    }

    package var type = Kind.positiveNLL
    package var coef = 0.1

    package static let source = "positive_nll: VAPO, arXiv 2504.05118; NeMo-RL positive_example_nll_weight"

    package init() {}

    package var problems: [String] {
        coef > 0 ? [] : ["objective.auxiliary.coef is \(coef); expected more than 0, or no auxiliary"]
    }

    /// Tokens that it raises, [L].
    func reads(_ sequence: SequenceInputs) -> [Bool] {
        guard let weights = sequence.auxiliaryWeights else { return sequence.mask.map { _ in false } }
        return sequence.mask.indices.map { sequence.mask[$0] && weights[$0] != 0 }
    }

    /// Returns the term and adds its derivative to `gradient`.
    func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> Double {
        guard let weights = sequence.auxiliaryWeights else { return 0 }
        var sum = 0.0
        for t in sequence.mask.indices where sequence.mask[t] {
            let slope = -coef * Double(weights[t])
            sum += slope * Double(sequence.logprobs[t])
            gradient[t] += Float(slope)
        }
        return sum
    }
}
