import Foundation

/// GRPO: (R - mean) / (std + epsilon) over the group; the divisor of the variance is n - ddof. verl: ddof 1, epsilon
/// 1e-6; TRL: ddof 1, epsilon 1e-4. `normalize: none` leaves R - mean (Dr.GRPO).
package struct GroupNormalized: AdvantageEstimator {
    package static let name = "grpo"
    package static let source = "DeepSeekMath, arXiv 2402.03300; Dr.GRPO, arXiv 2503.20783"

    package enum Normalization: String, Codable, CaseIterable, Sendable { case std, none }

    package var normalize = Normalization.std
    package var ddof = 1
    package var epsilon = 1e-6
    package var groupOfOne = GroupOfOne.zero

    package init() {}

    package var problems: [String] {
        (ddof < 0 ? ["advantage.ddof is \(ddof); expected 0 or more"] : []) + (epsilon < 0 ? ["advantage.epsilon is \(epsilon); expected 0 or more"] : [])
    }

    package func advantages(rewards: [Double]) -> [Double?] {
        if rewards.count == 1, groupOfOne == .raw { return normalize == .std ? [rewards[0] / (1 + epsilon)] : rewards }
        // Equal rewards first: dividing rounding noise by a tiny deviation would make advantages of it.
        if GroupFilter.areEqual(rewards) { return rewards.map { _ in 0 } }
        let mean = rewards.reduce(0, +) / Double(rewards.count)
        guard normalize == .std else { return rewards.map { $0 - mean } }
        guard rewards.count > ddof else { return rewards.map { _ in 0 } }
        let variance = rewards.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(rewards.count - ddof)
        return rewards.map { ($0 - mean) / (sqrt(variance) + epsilon) }
    }
}
