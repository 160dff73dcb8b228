import Foundation

/// ETPO without a critic: the reward less its group's mean, and per token the KL that is still to come less the mean of
/// the group's rows that still have this token: A_{i,t} = (R_i - mean R) - β (G_{i,t} - mean_j G_{j,t}), G_t = Σ_{u>t}
/// KL_u. The stepwise mean is a baseline of ours, not the paper's.
package struct ETPOMonteCarlo: AdvantageEstimator {
    package static let name = "etpo_mc"
    package static let source = "ETPO, arXiv 2402.06700, Monte-Carlo form"

    /// Where the KL of a state comes from: the whole vocabulary, or an estimate from the sampled token.
    package enum KL: String, Codable, CaseIterable, Sendable { case full, k1, k3 }

    /// β
    package var beta = 0.01
    package var kl = KL.full

    package init() {}

    package var problems: [String] { beta >= 0 ? [] : ["advantage.beta is \(beta); expected 0 or more"] }
    package var unread: [String: String] { beta == 0 ? ["kl": "beta is 0"] : [:] }
    package var columns: Set<TokenColumn> {
        beta == 0 ? [] : kl == .full ? [.referenceKL] : [.oldLogprobs, .referenceLogprobs]
    }

    package func credit(_ group: [Episode], plan: [Double]) -> [EpisodeCredit?] {
        let rewards = group.map(\.score), mean = rewards.reduce(0, +) / Double(max(1, group.count)),
            areEqual = GroupFilter.areEqual(rewards)
        let toGo = group.map { Self.behind(divergences($0)) }, longest = toGo.map(\.count).max() ?? 0
        let means = (0..<longest).map { t in
            let present = toGo.filter { $0.count > t }
            return present.reduce(0) { $0 + $1[t] } / Double(present.count)
        }
        return group.indices.map { row in
            let outcome = areEqual ? 0 : rewards[row] - mean
            return EpisodeCredit(
                advantages: group[row].spread(toGo[row].indices.map { outcome - beta * (toGo[row][$0] - means[$0]) }))
        }
    }

    private func divergences(_ episode: Episode) -> [Double] {
        guard kl != .full else { return episode.numbers(.referenceKL) }
        return zip(episode.numbers(.oldLogprobs), episode.numbers(.referenceLogprobs)).map { policy, reference in
            let d = policy - reference
            return kl == .k1 ? d : k3(d)
        }
    }

    /// Σ_{u>t}: what comes behind each token.
    private static func behind(_ values: [Double]) -> [Double] {
        Array(discountedReturns(values, gamma: 1).dropFirst()) + (values.isEmpty ? [] : [0])
    }
}

/// exp(-d) + d - 1
private func k3(_ d: Double) -> Double { expm1(-d) + d }

/// ETPO with a learned Q network: soft values of the states, V_j = Σ_v π(v) Q(v) - β KL(π || reference), under a target
/// network; a token's target is the value of the next state, the last token's the reward. Nothing is discounted within
/// an action. Returns are the targets for the Q network; the advantage is target - V_j, for objectives that want one.
package struct ETPOBellman: AdvantageEstimator {
    package static let name = "etpo_q"
    package static let source = "ETPO, arXiv 2402.06700; code morning9393/ETPO"

    /// β
    package var beta = 0.01

    package init() {}

    package var problems: [String] { beta >= 0 ? [] : ["advantage.beta is \(beta); expected 0 or more"] }
    package var columns: Set<TokenColumn> { [.expectedQ, .referenceKL] }
    package var givesReturns: Bool { true }

    package func credit(_ group: [Episode], plan: [Double]) -> [EpisodeCredit?] { group.map(credit) }

    private func credit(_ episode: Episode) -> EpisodeCredit {
        let values = zip(episode.numbers(.expectedQ), episode.numbers(.referenceKL)).map { $0 - beta * $1 }
        let targets = values.dropFirst() + (values.isEmpty ? [] : [episode.score])
        return EpisodeCredit(
            advantages: episode.spread(zip(targets, values).map { $0 - $1 }), returns: episode.spread(Array(targets)))
    }
}
