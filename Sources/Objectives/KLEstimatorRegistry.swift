/// Estimators that recipes may name as `kl.estimator`.
package enum KLEstimatorRegistry {
    /// A newcomer: one file, one line here; the tests over this list cover it.
    package static let all: [any KLEstimator.Type] = [
        K1.self,
        K2.self,
        K3.self,
        AbsoluteDifference.self,
        StraightThrough<K1>.self,
        StraightThrough<K3>.self,
        StraightThrough<AbsoluteDifference>.self,
    ]
}
