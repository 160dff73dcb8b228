/// d² / 2: biased, always positive.
package enum K2: KLEstimator {
    package static let name = "k2"
    package static let source = "Schulman, Approximating KL Divergence, 2020"

    package static func evaluate(_ d: Double, bounded: Bool) -> KLTerm { KLTerm(d * d / 2, derivative: d) }
}
