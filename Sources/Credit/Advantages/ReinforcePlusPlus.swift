/// REINFORCE++: each token's discounted return G_t = r_t + γ G_{t+1}, whitened over the plan. (verl's code forgets what
/// comes behind a masked token within a rollout; here returns are carried over it, as for GAE.)
package struct ReinforcePlusPlus: AdvantageEstimator {
    package static let name = "reinforce_pp"
    package static let source = "REINFORCE++, arXiv 2501.03262; verl core_algos"

    package var gamma = 1.0
    package var whiten = true

    package init() {}

    package var problems: [String] { (0...1).contains(gamma) ? [] : ["advantage.gamma is \(gamma); expected 0 to 1"] }
    package var whitens: Bool { whiten }

    package func credit(_ group: [Episode], plan: [Double]) -> [EpisodeCredit?] {
        group.map { EpisodeCredit(advantages: $0.spread(discountedReturns($0.rewardsByPosition, gamma: gamma))) }
    }
}

/// Sums of what is still to come, G_t = r_t + γ G_{t+1}.
func discountedReturns(_ rewards: [Double], gamma: Double) -> [Double] {
    var returns = rewards
    for t in rewards.indices.dropLast().reversed() { returns[t] += gamma * returns[t + 1] }
    return returns
}
