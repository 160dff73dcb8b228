/// REINFORCE++ with a baseline: the reward minus the group's mean, on every token, whitened over the plan.
package struct ReinforcePlusPlusBaseline: GroupEstimator {
    package static let name = "reinforce_pp_baseline"
    package static let source = "REINFORCE++-baseline, arXiv 2501.03262; verl core_algos"

    package var whiten = true
    package var groupOfOne = GroupOfOne.zero

    package init() {}

    package var whitens: Bool { whiten }

    package func advantages(rewards: [Double]) -> [Double?] {
        if rewards.count == 1 { return groupOfOne == .raw ? rewards : [0] }
        if GroupFilter.areEqual(rewards) { return rewards.map { _ in 0 } }
        let mean = rewards.reduce(0, +) / Double(rewards.count)
        return rewards.map { $0 - mean }
    }
}
