/// Which rollouts are worth learning from at all.
package struct GroupFilter: Codable, Equatable, Sendable {
    package enum Choice: String, Codable, CaseIterable, Sendable { case keep, drop }
    /// `zero` keeps rollouts with advantage 0: no gradient, but a place in denominators and in the KL term.
    package enum GroupChoice: String, Codable, CaseIterable, Sendable { case keep, drop, zero }

    /// Groups whose rollouts are all correct or all wrong: nothing to compare.
    package var degenerateGroups = GroupChoice.keep
    /// Groups are dropped unless their share of correct rollouts lies within these bounds, included (PRIME: 0.2 and
    /// 0.8).
    package var minAccuracy: Double?
    package var maxAccuracy: Double?
    /// Rollouts cut off by the length limit. Dropped ones still count in their group's statistics (overlong filtering),
    /// but are not trained on and stand outside the entropy population.
    package var truncated = Choice.keep

    package init() {}

    package var problems: [String] {
        let shares = [("min_accuracy", minAccuracy), ("max_accuracy", maxAccuracy)].compactMap { name, value in
            value.flatMap { (0...1).contains($0) ? nil : "filter.\(name) is \($0); expected 0 to 1, or null" }
        }
        guard let minAccuracy, let maxAccuracy, minAccuracy > maxAccuracy else { return shares }
        return shares + [
            "filter.min_accuracy is \(minAccuracy); expected at most max_accuracy, \(maxAccuracy), or no group stays"
        ]
    }

    /// Whether groups that it drops are worth sampling again.
    package var resamples: Bool { degenerateGroups == .drop || minAccuracy != nil || maxAccuracy != nil }

    /// Why a group is left out as a whole; nil where it stays.
    /// `areEqual`: whether several rewards are equal, each by itself; nil where there is one.
    package func dropReason(correct: [Bool?], rewards: [Double], areEqual: Bool? = nil) -> DropReason? {
        if degenerateGroups == .drop, areEqual ?? Self.isDegenerate(correct: correct, rewards: rewards) {
            return .degenerateGroup
        }
        let verdicts = correct.compactMap { $0 }
        guard !verdicts.isEmpty else { return nil }
        let accuracy = Double(verdicts.count { $0 }) / Double(verdicts.count)
        // 1e-9: a share such as 1/5 is a little off the bound that someone wrote as 0.2.
        return accuracy < (minAccuracy ?? 0) - 1e-9 || accuracy > (maxAccuracy ?? 1) + 1e-9
            ? .accuracyOutOfRange : nil
    }

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
