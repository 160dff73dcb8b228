/// The off-policy sequence mask: a rollout of negative advantage from which the policy has moved away, on average by
/// more than `threshold` nats a token, has no part in the objective. Denominators stay, and so do KL and other terms.
/// Decided at every step from the policy as it stands, for a whole rollout by the mean of its tokens' advantages (TRL
/// and slime decide token by token, which is the same where a rollout has one advantage).
package struct StaleRows: Codable, Sendable {
    /// Whose log-probabilities the policy is compared with.
    package enum Anchor: String, Codable, CaseIterable, Sendable {
        /// as the sampler wrote them: also counts what sampler and trainer disagree about
        case sampler
        /// old_logprobs
        case trainer
    }

    /// TRL has none and suggests 0.5; slime: 1e-4.
    package var threshold = 0.5
    package var against = Anchor.sampler

    package static let source = "DeepSeek-V3.2, arXiv 2512.02556; TRL off_policy_mask_threshold, slime opsm"

    package init() {}

    package var problems: [String] {
        threshold > 0 ? [] : ["objective.drop_stale.threshold is \(threshold); expected more than 0"]
    }

    /// Tokens on which the decision hangs, [L].
    func reads(_ sequence: SequenceInputs) -> [Bool] { sequence.wholeIfWeighted }

    /// Whether a rollout is left out.
    func isStale(_ sequence: SequenceInputs) -> Bool {
        guard sequence.weighted.contains(true), hasNegativeAdvantage(sequence),
            let anchor = against == .sampler ? sequence.samplerLogprobs : sequence.oldLogprobs
        else { return false }
        let positions = sequence.positions
        let moved = positions.reduce(0.0) { sum, t in
            let difference = Double(anchor[t]) - Double(sequence.logprobs[t])
            return sum + (difference.isNaN ? 0 : difference)
        }
        return moved > threshold * Double(positions.count)
    }

    private func hasNegativeAdvantage(_ sequence: SequenceInputs) -> Bool {
        sequence.positions.reduce(0.0) { $0 + Double(sequence.advantages[$1]) } < 0
    }
}
