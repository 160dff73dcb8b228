import Foundation

/// Group-in-group policy optimization: how much better a rollout is than those of its prompt, and beside it how much
/// better each turn is than other turns that had the same to see. A = A_rollout + weight · A_turn. A turn's return is
/// Σ γ^k r over the turns from it on, the outcome's reward with the last; it is compared with the returns of all turns of
/// the prompt's rollouts that stand behind the same tokens: an answer of a tool, a user's line, the prompt.
///
/// A turn that nobody else comes by gets 0 of the second part. With one turn a rollout both parts are GRPO's.
package struct GiGPO: AdvantageEstimator {
    package static let name = "gigpo"
    package static let source = "GiGPO, arXiv 2505.10978; code verl-agent gigpo/core_gigpo.py"

    package enum Normalization: String, Codable, CaseIterable, Sendable { case std, none }

    /// ω
    package var weight = 1.0
    /// γ
    package var gamma = 0.95
    /// Of both parts: by the deviation (Bessel) + epsilon, or not at all (the code's mean_norm).
    package var normalize = Normalization.std
    package var epsilon = 1e-6

    package init() {}

    package var problems: [String] {
        (weight >= 0 ? [] : ["advantage.weight is \(weight); expected 0 or more"])
            + ((0...1).contains(gamma) ? [] : ["advantage.gamma is \(gamma); expected 0 to 1"])
            + (epsilon >= 0 ? [] : ["advantage.epsilon is \(epsilon); expected 0 or more"])
    }

    package var unread: [String: String] { normalize == .none ? ["epsilon": "normalize is none"] : [:] }
    package var readsTurns: Bool { true }

    package func credit(_ group: [Episode], plan: [Double]) -> [EpisodeCredit?] {
        let turns = group.map { Turns($0, gamma: gamma) }, ofTurns = turnAdvantages(turns)
        return zip(zip(group, compared(group.map(\.score))), zip(turns, ofTurns)).map { rollout, turn in
            let (episode, whole) = rollout
            var advantages = episode.mask.map { $0 ? whole : 0 }
            for (range, advantage) in zip(turn.0.ranges, turn.1) {
                for t in range { advantages[t] += weight * advantage }
            }
            return EpisodeCredit(advantages: advantages)
        }
    }

    /// Of each rollout's turns, among all that had the same to see.
    private func turnAdvantages(_ rollouts: [Turns]) -> [[Double]] {
        var alike: [String: [(rollout: Int, turn: Int)]] = [:]
        for (rollout, turns) in rollouts.enumerated() {
            for turn in turns.ranges.indices {
                guard let state = turns.states[turn] else { continue }
                alike[state, default: []].append((rollout, turn))
            }
        }
        var advantages = rollouts.map { [Double](repeating: 0, count: $0.ranges.count) }
        for places in alike.values {
            for (place, advantage) in zip(places, compared(places.map { rollouts[$0.rollout].returns[$0.turn] })) {
                advantages[place.rollout][place.turn] = advantage
            }
        }
        return advantages
    }

    private func compared(_ values: [Double]) -> [Double] {
        var estimator = GRPO()
        (estimator.normalize, estimator.epsilon) = (normalize == .std ? .std : .none, epsilon)
        return estimator.advantages(rewards: values).map { $0 ?? 0 }
    }
}

/// A rollout's turns: unbroken runs of trainable tokens.
private struct Turns {
    let ranges: [Range<Int>]
    /// What was there to see; nil where that isn't known.
    let states: [String?]
    /// Σ γ^k r from each turn on.
    let returns: [Double]

    init(_ episode: Episode, gamma: Double) {
        let starts = episode.mask.turnStarts
        ranges = starts.map { start in
            start..<(episode.mask[start...].firstIndex(of: false) ?? episode.mask.count)
        }
        // Whatever is not known: all rollouts of a group begin at one prompt.
        states = starts.indices.map { turn in
            guard let known = episode.turnStates, known.count == starts.count else { return turn == 0 ? "" : nil }
            return known[turn]
        }
        var returns: [Double] = [], later = 0.0
        for (place, range) in ranges.enumerated().reversed() {
            let own = range.reduce(place == ranges.count - 1 ? episode.reward : 0) {
                $0 + (episode.tokenRewards?[$1] ?? 0)
            }
            later = own + gamma * later
            returns.append(later)
        }
        self.returns = returns.reversed()
    }
}

extension [Bool] {
    /// Where unbroken runs of trainable tokens begin.
    package var turnStarts: [Int] { indices.filter { self[$0] && ($0 == 0 || !self[$0 - 1]) } }
}
