import Foundation

/// exp(-d) + d - 1: unbiased and positive. Bounded: -d kept within ±20, the result within ±10.
package enum K3: KLEstimator {
    package static let name = "k3"
    package static let source = "Schulman, Approximating KL Divergence, 2020"

    package static let readsBounds = true

    package static func evaluate(_ d: Double, bounded: Bool) -> KLTerm {
        // expm1, because near 0 the plain form cancels.
        guard bounded else { return KLTerm(expm1(-d) + d, derivative: -expm1(-d)) }
        let minus = min(max(-d, -20), 20), value = expm1(minus) - minus
        let isBounded = abs(d) > 20 || value > 10
        return KLTerm(min(value, 10), derivative: isBounded ? 0 : -expm1(minus))
    }
}
