/// Which rollouts are worth learning from at all.
package struct GroupFilter: Codable, Equatable, Sendable {
    package enum Choice: String, Codable, CaseIterable, Sendable { case keep, drop }

    /// Groups whose rollouts are all correct or all wrong: nothing to compare.
    package var degenerateGroups = Choice.keep
    /// Rollouts cut off by the length limit. Dropped ones still count in their group's statistics (overlong filtering),
    /// but are not trained on and stand outside the entropy population.
    package var truncated = Choice.keep

    package init() {}

    /// Judged by correctness, because a length penalty alone would make an all-correct group look mixed; by the rewards
    /// themselves where a verdict is missing.
    package static func isDegenerate(correct: [Bool?], rewards: [Double]) -> Bool {
        let verdicts = correct.compactMap { $0 }
        guard verdicts.count == correct.count else { return areEqual(rewards) }
        return verdicts.allSatisfy { $0 } || !verdicts.contains(true)
    }

    /// Equal beyond rounding: max - min ≤ 1e-8 · max(1, |max|).
    package static func areEqual(_ rewards: [Double]) -> Bool {
        guard let low = rewards.min(), let high = rewards.max() else { return true }
        return high - low <= 1e-8 * max(1, abs(high))
    }
}
