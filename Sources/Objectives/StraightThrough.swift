/// The value of another estimator with the derivative of k2, whose expectation is the KL's.
package enum StraightThrough<Value: KLEstimator>: KLEstimator {
    package static var name: String { Value.name + "+" }
    package static var source: String { "verl kl_penalty, straight-through: value of \(Value.name), gradient of k2" }

    package static var readsBounds: Bool { Value.readsBounds }
    package static var isStraightThrough: Bool { true }

    package static func evaluate(_ d: Double, bounded: Bool) -> KLTerm {
        KLTerm(Value.evaluate(d, bounded: bounded).value, derivative: K2.evaluate(d, bounded: bounded).derivative)
    }
}
