import Foundation

/// GRPO: (R - mean) / (std + epsilon) over the group; the divisor of the variance is n - ddof. verl: ddof 1, epsilon
/// 1e-6; TRL: ddof 1, epsilon 1e-4. `normalize: none` leaves R - mean (Dr.GRPO), `mean` divides by the mean (MaxRL).
package struct GRPO: GroupEstimator {
    package static let name = "grpo"
    package static let source =
        "DeepSeekMath, arXiv 2402.03300; Dr.GRPO, arXiv 2503.20783; MaxRL, arXiv 2602.02710; GPG, arXiv 2504.02546"

    /// `mean` divides by the group's mean, of rewards that are never negative; 0 where it is 0. `batch` divides by the
    /// deviation of all rewards of the plan (TRL's scale_rewards="batch").
    package enum Normalization: String, Codable, CaseIterable, Sendable { case std, mean, batch, none }
    /// A factor on all advantages of the plan: its rollouts by those of a reward that isn't 0 (verl's gpg, which
    /// thereby counts right ones where wrong ones are worth 0), or by those of groups whose rewards differ.
    package enum Scale: String, Codable, CaseIterable, Sendable { case none, nonzero, mixed }

    package var normalize = Normalization.std
    package var ddof = 1
    package var epsilon = 1e-6
    package var groupOfOne = GroupOfOne.zero
    package var scale = Scale.none

    package init() {}

    package var problems: [String] {
        ((0...1).contains(ddof) ? [] : ["advantage.ddof is \(ddof); expected 0, or 1 for Bessel's correction"])
            + (epsilon >= 0 ? [] : ["advantage.epsilon is \(epsilon); expected 0 or more"])
            + (scale != .none && normalize == .batch
                ? ["advantage.scale is \(scale.rawValue) with normalize batch; expected none, or another normalize"]
                : [])
    }

    package var unread: [String: String] {
        guard normalize == .none || normalize == .mean else { return [:] }
        return ["ddof", "epsilon"].reduce(into: [:]) { $0[$1] = "normalize is \(normalize.rawValue)" }
    }

    package func remark(_ group: [EpisodeOutcome]) -> GroupRemark? {
        guard normalize == .mean, let least = group.map(\.score).min(), least < 0 else { return nil }
        return .refused(
            found: "a shaped reward of \(least)",
            expected: "none below 0: with advantage.normalize mean they are divided by their mean. "
                + "Set reward.wrong=0, and no penalty")
    }

    package func advantages(rewards: [Double]) -> [Double?] {
        if rewards.count == 1, groupOfOne == .raw { return normalize == .std ? [rewards[0] / (1 + epsilon)] : rewards }
        // Equal rewards first: dividing rounding noise by a tiny deviation would make advantages of it.
        if GroupFilter.areEqual(rewards) { return rewards.map { _ in 0 } }
        let mean = rewards.reduce(0, +) / Double(rewards.count)
        switch normalize {
        case .none, .batch: return rewards.map { $0 - mean }
        case .mean: return rewards.map { mean > 0 ? ($0 - mean) / mean : 0 }
        case .std:
            guard let deviation = deviation(rewards) else { return rewards.map { _ in 0 } }
            return rewards.map { ($0 - mean) / (deviation + epsilon) }
        }
    }

    // MARK: factors of the whole plan

    package var readsWholePlan: Bool { normalize == .batch || scale != .none }

    /// All rewards; or 1 for a rollout that counts and 0 for another.
    package func planNumbers(_ group: [Episode]) -> [Double] {
        let scores = group.map(\.score)
        switch scale {
        case .none: return scores
        case .nonzero: return scores.map { $0 == 0 ? 0 : 1 }
        case .mixed: return scores.map { _ in GroupFilter.areEqual(scores) ? 0 : 1 }
        }
    }

    /// 0 where all rewards are equal beyond rounding: there is nothing to compare, and without an epsilon nothing to
    /// divide by.
    package func planFigures(_ numbers: [Double]) -> [Double] {
        guard scale == .none else {
            let counted = numbers.reduce(0, +)
            return [counted > 0 ? Double(numbers.count) / counted : 1]
        }
        return [GroupFilter.areEqual(numbers) ? 0 : 1 / ((deviation(numbers) ?? .infinity) + epsilon)]
    }

    package func advantages(_ group: [EpisodeOutcome], plan: [Double]) -> [Double?] {
        let factor = plan.first ?? 1
        return advantages(rewards: group.map(\.score)).map { $0.map { $0 * factor } }
    }

    /// nil where there are too few rewards.
    private func deviation(_ rewards: [Double]) -> Double? {
        guard rewards.count > ddof else { return nil }
        let mean = rewards.reduce(0, +) / Double(rewards.count)
        return sqrt(rewards.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(rewards.count - ddof))
    }
}
