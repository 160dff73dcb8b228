/// GAE on a critic's values: δ_t = r_t + γ V_{t+1} - V_t, A_t = δ_t + γλ A_{t+1}, carried over tokens that are not
/// trained on; behind the last token there is nothing to come, also where a rollout was cut off. Returns are A + V
/// before whitening.
package struct GAE: AdvantageEstimator {
    package static let name = "gae"
    package static let source = "GAE, arXiv 1506.02438; PPO, arXiv 1707.06347; verl core_algos"

    package var gamma = 1.0
    /// λ
    package var lambda = 1.0
    package var whiten = true

    package init() {}

    package var problems: [String] {
        ((0...1).contains(gamma) ? [] : ["advantage.gamma is \(gamma); expected 0 to 1"])
            + ((0...1).contains(lambda) ? [] : ["advantage.lambda is \(lambda); expected 0 to 1"])
    }

    package var columns: Set<TokenColumn> { [.values] }
    package var whitens: Bool { whiten }
    package var givesReturns: Bool { true }

    package func credit(_ group: [Episode], plan: [Double]) -> [EpisodeCredit?] { group.map(credit) }

    private func credit(_ episode: Episode) -> EpisodeCredit {
        let rewards = episode.rewardsByPosition, values = episode.numbers(.values)
        var advantages = rewards, next = (value: 0.0, advantage: 0.0)
        for t in rewards.indices.reversed() {
            let delta = rewards[t] + gamma * next.value - values[t]
            advantages[t] = delta + gamma * lambda * next.advantage
            next = (values[t], advantages[t])
        }
        return EpisodeCredit(
            advantages: episode.spread(advantages), returns: episode.spread(zip(advantages, values).map(+)))
    }
}
