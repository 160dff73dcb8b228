import Foundation

/// An estimate of KL(policy || reference) from one sampled token, d = lp - lp_ref. Names are Schulman's numbering.
package enum KLEstimator: String, Codable, Sendable, CaseIterable {
    /// d: unbiased, noisy.
    case k1
    /// d² / 2: biased, always positive.
    case k2
    /// exp(-d) + d - 1: unbiased and positive; -d kept within ±20, the result within ±10.
    case k3
    /// |d|
    case abs
    /// The value of k1, |d| or k3 with the derivative of k2, whose expectation is the KL's (straight-through, as in verl).
    case k1Straight = "k1+"
    case k3Straight = "k3+"
    case absStraight = "abs+"

    /// For listings.
    package var source: String {
        rawValue.hasSuffix("+") ? "verl kl_penalty, straight-through: value of the named, gradient of k2" : "Schulman, Approximating KL Divergence, 2020"
    }

    /// Value and derivative by lp. `bounded` false leaves k3 as it grows.
    package func evaluate(_ d: Double, bounded: Bool = true) -> (value: Double, derivative: Double) {
        switch self {
        case .k1: return (d, 1)
        case .k2: return (d * d / 2, d)
        case .abs: return (Swift.abs(d), d > 0 ? 1 : d < 0 ? -1 : 0)
        case .k1Straight: return (d, d)
        case .absStraight: return (Swift.abs(d), d)
        case .k3Straight: return (Self.k3.evaluate(d, bounded: bounded).value, d)
        case .k3 where !bounded: return (expm1(-d) + d, -expm1(-d))
        case .k3:
            let minus = min(max(-d, -20), 20), value = expm1(minus) - minus
            let isBounded = Swift.abs(d) > 20 || value > 10
            return (min(value, 10), isBounded ? 0 : -expm1(minus))
        }
    }
}

/// Where the KL term acts: in the loss, with the current policy; or in the rewards, token by token, with the policy that the
/// plan was made with.
package enum KLPlacement: String, Codable, Sendable, CaseIterable { case loss, reward }

/// coef · Σ klWeight · KL(token), added to any objective.
package struct KLPenalty: Codable, Sendable {
    package var estimator = KLEstimator.k3
    package var coef = 0.0
    package var placement = KLPlacement.loss
    /// k3's bounds, as verl has them; TRL has none.
    package var bounded = true

    package init() {}

    package var problems: [String] { coef >= 0 ? [] : ["kl.coef is \(coef); expected 0 or more"] }
    package var isOn: Bool { coef != 0 }
    package var isInLoss: Bool { isOn && placement == .loss }
    package var isInReward: Bool { isOn && placement == .reward }

    /// -coef · KL for each token, [L], to be added to its reward.
    package func rewards(logprobs: [Float], reference: [Float], mask: [Bool]) -> [Double] {
        mask.indices.map { mask[$0] ? -coef * estimator.evaluate(Double(logprobs[$0]) - Double(reference[$0]), bounded: bounded).value : 0 }
    }

    /// Tokens whose log-probabilities the term depends on, [L].
    package func reads(_ sequence: SequenceInputs) -> [Bool] {
        guard isInLoss, sequence.referenceLogprobs != nil, let weights = sequence.klWeights else { return sequence.mask.map { _ in false } }
        return sequence.mask.indices.map { sequence.mask[$0] && weights[$0] != 0 }
    }

    /// Returns the term and adds its derivative to `gradient`; nothing where it is off or the sequence has no reference.
    package func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> Double {
        guard isInLoss, let reference = sequence.referenceLogprobs, let weights = sequence.klWeights else { return 0 }
        var sum = 0.0
        for t in sequence.mask.indices where sequence.mask[t] {
            let term = estimator.evaluate(Double(sequence.logprobs[t]) - Double(reference[t]), bounded: bounded)
            sum += coef * Double(weights[t]) * term.value
            gradient[t] += Float(coef * Double(weights[t]) * term.derivative)
        }
        return sum
    }
}
