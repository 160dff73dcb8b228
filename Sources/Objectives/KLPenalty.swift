/// Where the KL term acts: in the loss, with the current policy; or in the rewards, token by token, with the policy
/// that the plan was made with.
package enum KLPlacement: String, Codable, Sendable, CaseIterable { case loss, reward }

/// coef · Σ klWeight · KL(token), added to any objective.
package struct KLPenalty: Codable, Sendable {
    package var estimator = KLChoice(K3.self)
    package var coef = 0.0
    package var placement = KLPlacement.loss
    /// k3's bounds, as verl has them; TRL has none.
    package var bounded = true
    package var weighted = KLWeighting.none

    package init() {}

    package var problems: [String] { coef >= 0 ? [] : ["kl.coef is \(coef); expected 0 or more"] }
    /// Keys that have no effect beside the others, with what stands against them.
    package var unread: [String: String] {
        var unread: [String: String] = [:]
        if !estimator.type.readsBounds { unread["bounded"] = "estimator \(estimator.type.name) has no bounds" }
        if placement == .reward { unread["weighted"] = "placement is reward, which has no derivative" }
        return unread
    }
    package var isOn: Bool { coef != 0 }
    package var isInLoss: Bool { isOn && placement == .loss }
    /// Whether ratios have a part in the term.
    var readsOldLogprobs: Bool { isInLoss && weighted == .ratio }
    package var isInReward: Bool { isOn && placement == .reward }

    /// -coef · KL for each token, [L], to be added to its reward.
    package func rewards(logprobs: [Float], reference: [Float], mask: [Bool]) -> [Double] {
        mask.indices.map {
            mask[$0]
                ? -coef * estimator.type.evaluate(Double(logprobs[$0]) - Double(reference[$0]), bounded: bounded).value
                : 0
        }
    }

    /// Tokens whose log-probabilities the term depends on, [L].
    package func reads(_ sequence: SequenceInputs) -> [Bool] {
        guard isInLoss, sequence.referenceLogprobs != nil, let weights = sequence.klWeights else {
            return sequence.mask.map { _ in false }
        }
        return sequence.mask.indices.map { sequence.mask[$0] && weights[$0] != 0 }
    }

    /// Returns the term and adds its derivative to `gradient`; nothing where it is off or the sequence has no
    /// reference.
    package func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> Double {
        guard isInLoss, let reference = sequence.referenceLogprobs, let weights = sequence.klWeights else { return 0 }
        var sum = 0.0
        for t in sequence.mask.indices where sequence.mask[t] {
            let term = term(sequence, t, reference: reference[t])
            sum += coef * Double(weights[t]) * term.value
            gradient[t] += Float(coef * Double(weights[t]) * term.derivative)
        }
        return sum
    }

    private func term(_ sequence: SequenceInputs, _ t: Int, reference: Float) -> KLTerm {
        let difference = Double(sequence.logprobs[t]) - Double(reference)
        switch weighted {
        case .none: return estimator.type.evaluate(difference, bounded: bounded)
        case .score:
            let term = estimator.type.evaluate(difference, bounded: bounded)
            return KLTerm(term.value, derivative: isAtBound(difference) ? 0 : term.value + term.derivative)
        case .ratio:
            let ratio = ImportanceRatio(sequence.logprobs[t], sequence.oldLogprobs[t])
            return weighed(estimator.type.evaluate(difference, bounded: false), difference, ratio)
        }
    }

    /// The product first, then the bounds.
    private func weighed(_ term: KLTerm, _ difference: Double, _ ratio: ImportanceRatio) -> KLTerm {
        let value = ratio.value * term.value, slope = ratio.value * (term.value + term.derivative)
        guard readsBounds else { return KLTerm(value, derivative: ratio.isClamped ? 0 : slope) }
        let isBounded = ratio.isClamped || abs(difference) > 20 || abs(value) > 10
        return KLTerm(min(max(value, -10), 10), derivative: isBounded ? 0 : slope)
    }

    private var readsBounds: Bool { bounded && estimator.type.readsBounds }

    /// Whether the estimate's own bounds bind.
    private func isAtBound(_ difference: Double) -> Bool {
        readsBounds && (abs(difference) > 20 || estimator.type.evaluate(difference, bounded: false).value > 10)
    }
}
