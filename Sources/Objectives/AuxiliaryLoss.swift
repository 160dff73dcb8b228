/// A likelihood beside the objective, with a denominator of its own: Σ auxiliary weight · (-lp), times what the plan's
/// weights have not in them.
package struct AuxiliaryLoss: Codable, Sendable {
    package enum Kind: String, Codable, CaseIterable, Sendable {
        /// the mean over the tokens of right answers (VAPO)
        case positiveNLL = "positive_nll"
        /// what tools and users said after the first response: Σ coefficient of the role · (-lp) over all chosen tokens
        /// of the step (ECHO)
        case environmentNLL = "environment_nll"
    }

    package var type = Kind.positiveNLL
    /// Of positive_nll.
    package var coef = 0.1
    /// Of environment_nll, by who wrote a token. A token with 0 is not chosen.
    package var tool = 0.1
    package var user = 0.0

    package static let source = "positive_nll: VAPO, arXiv 2504.05118; environment_nll: ECHO, prime-rl"

    package init() {}

    package var problems: [String] {
        switch type {
        case .positiveNLL:
            return coef > 0 ? [] : ["objective.auxiliary.coef is \(coef); expected more than 0, or no auxiliary"]
        case .environmentNLL:
            let negative = [("tool", tool), ("user", user)].filter { !($0.1 >= 0) }.map {
                "objective.auxiliary.\($0.0) is \($0.1); expected 0 or more"
            }
            return negative.isEmpty && tool == 0 && user == 0
                ? ["objective.auxiliary.tool and user are 0; expected one of them above 0, or no auxiliary"] : negative
        }
    }

    /// Keys that have no effect beside the others, with what stands against them.
    package var unread: [String: String] {
        let not = "type is \(type.rawValue)"
        return type == .positiveNLL ? ["tool": not, "user": not] : ["coef": not]
    }

    /// What multiplies the plan's weights, which have the environment's coefficients in them.
    private var factor: Double { type == .positiveNLL ? coef : 1 }

    /// Tokens that it raises, [L]; also some that are not trained on otherwise.
    func reads(_ sequence: SequenceInputs) -> [Bool] {
        guard let weights = sequence.auxiliaryWeights else { return sequence.mask.map { _ in false } }
        return weights.map { $0 != 0 }
    }

    /// Returns the term and adds its derivative to `gradient`.
    func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> Double {
        guard let weights = sequence.auxiliaryWeights else { return 0 }
        var sum = 0.0
        for t in weights.indices where weights[t] != 0 {
            let slope = -factor * Double(weights[t])
            sum += slope * Double(sequence.logprobs[t])
            gradient[t] += Float(slope)
        }
        return sum
    }
}
