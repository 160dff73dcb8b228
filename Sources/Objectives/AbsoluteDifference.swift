/// |d|
package enum AbsoluteDifference: KLEstimator {
    package static let name = "abs"
    package static let source = "verl kl_penalty"

    package static func evaluate(_ d: Double, bounded: Bool) -> KLTerm {
        KLTerm(abs(d), derivative: sign(ofLogRatio: d))
    }
}
