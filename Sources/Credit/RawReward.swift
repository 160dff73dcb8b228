/// The reward itself, without baseline (Reinforce-Rej, after its filter).
package struct RawReward: AdvantageEstimator {
    package static let name = "raw_reward"
    package static let source = "Reinforce-Rej, arXiv 2504.11343"

    package init() {}

    package func advantages(rewards: [Double]) -> [Double?] { rewards }
}

/// The reward where it is positive; the other rollouts are dropped before denominators are taken (RAFT, RAFT++).
package struct PositiveReward: AdvantageEstimator {
    package static let name = "positive_reward"
    package static let source = "RAFT, arXiv 2304.06767; RAFT++, arXiv 2504.11343"
    package static let dropReason = "not_positive"

    package init() {}

    package func advantages(rewards: [Double]) -> [Double?] { rewards.map { $0 > 0 ? $0 : nil } }
}
