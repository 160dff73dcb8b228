/// No advantage of its own: what a teacher says is all there is (`advantage.teacher`).
package struct NoAdvantage: GroupEstimator {
    package static let name = "none"
    package static let source = "on-policy distillation"

    package init() {}

    package func advantages(rewards: [Double]) -> [Double?] { rewards.map { _ in 0 } }
}
