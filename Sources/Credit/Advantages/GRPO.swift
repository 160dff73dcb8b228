import Foundation

/// GRPO: (R - mean) / (std + epsilon) over the group; the divisor of the variance is n - ddof. verl: ddof 1, epsilon
/// 1e-6; TRL: ddof 1, epsilon 1e-4. `normalize: none` leaves R - mean (Dr.GRPO).
package struct GRPO: GroupEstimator {
    package static let name = "grpo"
    package static let source = "DeepSeekMath, arXiv 2402.03300; Dr.GRPO, arXiv 2503.20783"

    /// `batch` divides by the deviation of all rewards of the plan (TRL's scale_rewards="batch").
    package enum Normalization: String, Codable, CaseIterable, Sendable { case std, batch, none }

    package var normalize = Normalization.std
    package var ddof = 1
    package var epsilon = 1e-6
    package var groupOfOne = GroupOfOne.zero

    package init() {}

    package var problems: [String] {
        ((0...1).contains(ddof) ? [] : ["advantage.ddof is \(ddof); expected 0, or 1 for Bessel's correction"])
            + (epsilon >= 0 ? [] : ["advantage.epsilon is \(epsilon); expected 0 or more"])
    }

    package var unread: [String: String] {
        normalize == .none ? ["ddof": "normalize is none", "epsilon": "normalize is none"] : [:]
    }

    package func advantages(rewards: [Double]) -> [Double?] {
        if rewards.count == 1, groupOfOne == .raw { return normalize == .std ? [rewards[0] / (1 + epsilon)] : rewards }
        // Equal rewards first: dividing rounding noise by a tiny deviation would make advantages of it.
        if GroupFilter.areEqual(rewards) { return rewards.map { _ in 0 } }
        let mean = rewards.reduce(0, +) / Double(rewards.count)
        guard normalize == .std else { return rewards.map { $0 - mean } }
        guard let deviation = deviation(rewards) else { return rewards.map { _ in 0 } }
        return rewards.map { ($0 - mean) / (deviation + epsilon) }
    }

    package var readsWholePlan: Bool { normalize == .batch }
    package func planNumbers(_ group: [Episode]) -> [Double] { group.map(\.score) }
    /// 0 where all rewards are equal beyond rounding: there is nothing to compare, and without an epsilon nothing to
    /// divide by.
    package func planScale(_ numbers: [Double]) -> Double {
        GroupFilter.areEqual(numbers) ? 0 : 1 / ((deviation(numbers) ?? .infinity) + epsilon)
    }

    package func advantages(rewards: [Double], planScale: Double) -> [Double?] {
        advantages(rewards: rewards).map { $0.map { $0 * planScale } }
    }

    /// nil where there are too few rewards.
    private func deviation(_ rewards: [Double]) -> Double? {
        guard rewards.count > ddof else { return nil }
        let mean = rewards.reduce(0, +) / Double(rewards.count)
        return sqrt(rewards.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(rewards.count - ddof))
    }
}
