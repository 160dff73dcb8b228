import Foundation

/// Optimal token baseline: at each token the mean over the group of what is still to come, weighed by how much a
/// rollout's gradient has varied so far: w_t = 1 - 2 p(y_t) + Σ_v p_v², W = its running sum,
/// B_t = Σ_i G_it W_it / (Σ_i W_it + 1e-8) over the rollouts that still have a token t, A = G - B. Tokens are counted
/// among the trainable ones (verl's tir_optimal_token_baseline, and its plain one where nothing in between is masked).
/// With a correction w is multiplied by the square of its weight.
package struct OptimalTokenBaseline: AdvantageEstimator {
    package static let name = "otb"
    package static let source = "optimal token baseline; verl core_algos"

    /// The baseline of tokens that the longest rollout alone has: none, or the rollout's own, so that they get 0.
    package enum Tail: String, Codable, CaseIterable, Sendable { case zero, own }

    package var tail = Tail.zero
    package var groupOfOne = GroupOfOne.zero

    package init() {}

    package var columns: Set<TokenColumn> { [.oldLogprobs, .sumPSquared] }
    package var readsCorrection: Bool { true }

    private static let epsilon = 1e-8

    package func credit(_ group: [Episode], plan: [Double]) -> [EpisodeCredit?] {
        let returns = group.map { discountedReturns($0.rewardsByPosition, gamma: 1) }
        let isOne = group.count == 1
        guard !isOne || groupOfOne == .raw, isOne || !GroupFilter.areEqual(group.map(\.score)) else {
            return group.map { $0.spread(0) }
        }
        let baselines = isOne ? returns[0].map { _ in 0 } : baselines(returns, group.map(variations))
        return zip(group, returns).map { episode, returns in
            EpisodeCredit(advantages: episode.spread(zip(returns, baselines).map { $0 - $1 }))
        }
    }

    /// W of each trainable token.
    private func variations(_ episode: Episode) -> [Double] {
        let factors = episode.correctionWeights.map { weights in episode.positions.map { weights[$0] } }
        var sum = 0.0
        return zip(episode.numbers(.oldLogprobs), episode.numbers(.sumPSquared)).enumerated().map { t, numbers in
            let factor = factors?[t] ?? 1
            sum += (1 - 2 * exp(numbers.0) + numbers.1) * factor * factor
            return sum
        }
    }

    /// Of each token up to the longest rollout's last.
    private func baselines(_ returns: [[Double]], _ variations: [[Double]]) -> [Double] {
        let longest = returns.map(\.count).max() ?? 0
        return (0..<longest).map { t in
            let present = returns.indices.filter { returns[$0].count > t }
            if present.count == 1 { return tail == .own ? returns[present[0]][t] : 0 }
            let sum = present.reduce(0) { $0 + variations[$1][t] }
            return present.reduce(0) { $0 + returns[$1][t] * variations[$1][t] } / (sum + Self.epsilon)
        }
    }
}
