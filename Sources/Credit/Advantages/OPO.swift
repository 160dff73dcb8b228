/// OPO: the reward less its group's mean by length, Σ n R / Σ n over the group with n trainable tokens: the baseline of
/// least variance where a rollout's gradient grows with its length.
package struct OPO: OutcomeEstimator {
    package static let name = "opo"
    package static let source = "OPO, arXiv 2505.23585; verl core_algos"

    package var groupOfOne = GroupOfOne.zero

    package init() {}

    package func advantages(_ group: [EpisodeOutcome], plan: [Double]) -> [Double?] {
        let rewards = group.map(\.score)
        if rewards.count == 1 { return groupOfOne == .raw ? rewards : [0] }
        if GroupFilter.areEqual(rewards) { return rewards.map { _ in 0 } }
        let lengths = group.map { Double($0.trainable) }, tokens = lengths.reduce(0, +)
        let sum = zip(lengths, rewards).map(*).reduce(0, +)
        return rewards.map { tokens > 0 ? $0 - sum / tokens : 0 }
    }
}
