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

    /// Value and derivative by lp.
    package func evaluate(_ d: Double) -> (value: Double, derivative: Double) {
        switch self {
        case .k1: return (d, 1)
        case .k2: return (d * d / 2, d)
        case .abs: return (Swift.abs(d), d > 0 ? 1 : d < 0 ? -1 : 0)
        case .k3:
            let minus = min(max(-d, -20), 20), value = expm1(minus) - minus
            let isBounded = Swift.abs(d) > 20 || value > 10
            return (min(value, 10), isBounded ? 0 : -expm1(minus))
        }
    }
}

/// Where the KL term acts.
package enum KLPlacement: String, Codable, Sendable, CaseIterable { case loss }

/// coef · Σ klWeight · KL(token), added to any objective.
package struct KLPenalty: Codable, Sendable {
    package var estimator = KLEstimator.k3
    package var coef = 0.0
    package var placement = KLPlacement.loss

    package init() {}

    package var problems: [String] { coef >= 0 ? [] : ["kl.coef is \(coef); expected 0 or more"] }
    package var isOn: Bool { coef != 0 }

    /// Returns the term and adds its derivative to `gradient`; nothing where it is off or the sequence has no reference.
    package func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> Double {
        guard isOn, let reference = sequence.referenceLogprobs, let weights = sequence.klWeights else { return 0 }
        var sum = 0.0
        for t in sequence.mask.indices where sequence.mask[t] {
            let term = estimator.evaluate(Double(sequence.logprobs[t]) - Double(reference[t]))
            sum += coef * Double(weights[t]) * term.value
            gradient[t] += Float(coef * Double(weights[t]) * term.derivative)
        }
        return sum
    }
}
