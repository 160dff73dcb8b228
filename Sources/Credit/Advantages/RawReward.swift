/// The reward itself, without baseline (Reinforce-Rej, after its filter).
package struct RawReward: GroupEstimator {
    package static let name = "raw_reward"
    package static let source = "Reinforce-Rej, arXiv 2504.11343"

    package init() {}

    package func advantages(rewards: [Double]) -> [Double?] { rewards }
}
