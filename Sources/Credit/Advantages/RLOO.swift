/// RLOO: the reward minus the mean of the others in the group.
package struct RLOO: GroupEstimator {
    package static let name = "rloo"
    package static let source = "Ahmadian et al. 2024, arXiv 2402.14740"

    package var groupOfOne = GroupOfOne.zero

    package init() {}

    package func advantages(rewards: [Double]) -> [Double?] {
        if rewards.count == 1 { return groupOfOne == .raw ? rewards : [0] }
        if GroupFilter.areEqual(rewards) { return rewards.map { _ in 0 } }
        let count = Double(rewards.count), mean = rewards.reduce(0, +) / count
        return rewards.map { ($0 - mean) * count / (count - 1) }
    }
}
