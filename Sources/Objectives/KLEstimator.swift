/// What an estimator says of one sampled token: its share of the KL, and the derivative by the token's log-probability.
package struct KLTerm: Equatable, Sendable {
    package var value: Double
    package var derivative: Double

    package init(_ value: Double, derivative: Double) { (self.value, self.derivative) = (value, derivative) }
}

/// An estimate of KL(policy || reference) from one sampled token, d = lp - lp_ref.
package protocol KLEstimator: Sendable {
    /// The recipe's word.
    static var name: String { get }
    /// Where it comes from, for listings.
    static var source: String { get }
    /// Whether `bounded` says anything to it.
    static var readsBounds: Bool { get }
    /// Whether its gradient is another than its value's.
    static var isStraightThrough: Bool { get }
    /// `bounded`: as verl bounds it, where it does.
    static func evaluate(_ d: Double, bounded: Bool) -> KLTerm
}

extension KLEstimator {
    package static var readsBounds: Bool { false }
    package static var isStraightThrough: Bool { false }
    package static func evaluate(_ d: Double) -> KLTerm { evaluate(d, bounded: true) }
}
