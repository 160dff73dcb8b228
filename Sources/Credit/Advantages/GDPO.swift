import Foundation

/// GDPO: each of several rewards is compared within the group by itself, (r - mean) / (std + epsilon), so that none
/// drowns the others; their weighted sum is normalised once more over the plan: over its rollouts, as TRL and NeMo-RL
/// do, or over its tokens, as verl. A rollout without one of the rewards counts 0 for it and has no part in its mean
/// and deviation. Deviations are Bessel's.
package struct GDPO: OutcomeEstimator {
    package static let name = "gdpo"
    package static let source = "GDPO, arXiv 2601.05242; verl core_algos, TRL normalize_then_sum"

    /// What the last normalisation is over.
    package enum Whitening: String, Codable, CaseIterable, Sendable { case rows, tokens, none }

    package var epsilon = 1e-6
    package var whiten = Whitening.rows
    /// Added to the deviation over rows (TRL: 1e-4).
    package var whitenEpsilon = 0.0

    package init() {}

    package var problems: [String] {
        [("epsilon", epsilon), ("whiten_epsilon", whitenEpsilon)].compactMap {
            $1 >= 0 ? nil : "advantage.\($0) is \($1); expected 0 or more"
        }
    }

    package var unread: [String: String] {
        whiten == .rows ? [:] : ["whiten_epsilon": "whiten is \(whiten.rawValue)"]
    }

    package var readsComponents: Bool { true }
    package var whitens: Bool { whiten == .tokens }
    package var readsWholePlan: Bool { whiten == .rows }

    package func planNumbers(_ group: [Episode]) -> [Double] { sums(group.map(\.outcome)) }

    /// The mean, and what differences from it are multiplied by; 0 where all are equal.
    package func planFigures(_ numbers: [Double]) -> [Double] {
        guard !GroupFilter.areEqual(numbers) else { return [0, 0] }
        let (mean, deviation) = Self.moments(numbers)
        return [mean, 1 / (deviation + whitenEpsilon)]
    }

    package func advantages(_ group: [EpisodeOutcome], plan: [Double]) -> [Double?] {
        let sums = sums(group)
        return whiten == .rows && plan.count == 2 ? sums.map { ($0 - plan[0]) * plan[1] } : sums
    }

    /// Σ weight · normalised reward of each rollout.
    private func sums(_ group: [EpisodeOutcome]) -> [Double] {
        var sums = group.map { _ in 0.0 }
        for component in 0..<(group.first?.rewards.count ?? 0) {
            let rewards = group.map { $0.rewards[component] }
            for (row, advantage) in normalised(rewards.map(\.value)).enumerated() {
                sums[row] += rewards[row].weight * advantage
            }
        }
        return sums
    }

    private func normalised(_ rewards: [Double?]) -> [Double] {
        let known = rewards.compactMap { $0 }
        guard !GroupFilter.areEqual(known) else { return rewards.map { _ in 0 } }
        let (mean, deviation) = Self.moments(known)
        return rewards.map { $0.map { ($0 - mean) / (deviation + epsilon) } ?? 0 }
    }

    private static func moments(_ numbers: [Double]) -> (mean: Double, deviation: Double) {
        let mean = numbers.reduce(0, +) / Double(numbers.count)
        let squares = numbers.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        return (mean, sqrt(squares / Double(max(1, numbers.count - 1))))
    }
}
