/// d: unbiased, noisy. (Schulman's numbering, as in K2 and K3.)
package enum K1: KLEstimator {
    package static let name = "k1"
    package static let source = "Schulman, Approximating KL Divergence, 2020"

    package static func evaluate(_ d: Double, bounded: Bool) -> KLTerm { KLTerm(d, derivative: 1) }
}
