/// The reward where it is positive; the other rollouts are dropped before denominators are taken (RAFT, RAFT++). With
/// `rejected: zero` they stay with advantage 0 and so in the denominators, as in Minimal-RL's code.
package struct PositiveReward: GroupEstimator {
    package static let name = "positive_reward"
    package static let source = "RAFT, arXiv 2304.06767; RAFT++, arXiv 2504.11343"
    package static let dropReason = DropReason.notPositive

    package enum Rejected: String, Codable, CaseIterable, Sendable { case drop, zero }

    package var rejected = Rejected.drop

    package init() {}

    package func advantages(rewards: [Double]) -> [Double?] {
        rewards.map { $0 > 0 ? $0 : rejected == .zero ? 0 : nil }
    }
}
