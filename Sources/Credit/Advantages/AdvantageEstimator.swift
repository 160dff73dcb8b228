/// Per-token numbers that a method may need beside rewards; raw values are the columns' names in files and messages.
package enum TokenColumn: String, CaseIterable, Sendable {
    case entropy
    /// Bounds of it, where only the best log-probabilities are known.
    case entropyLow = "entropy_low"
    case entropyHigh = "entropy_high"
    /// Under the policy that trains, before the first step.
    case oldLogprobs = "old_logprobs"
    /// As the sampler wrote them.
    case rolloutLogprobs = "rollout_logprobs"
    case referenceLogprobs = "reference_logprobs"
    /// A critic's, of the state before the token.
    case values
    /// log-probability under an implicit reward model minus that under its reference (PRIME's q_t).
    case processRewards = "process_rewards"
    /// KL(policy || reference) over the whole vocabulary, of the state before the token.
    case referenceKL = "reference_kl"
    /// Σ_v π(v) Q(v) over the whole vocabulary, of the state before the token.
    case expectedQ = "expected_q"

    /// What to run so that the column is there.
    package var remedy: String {
        switch self {
        case .entropy, .entropyLow, .entropyHigh:
            "Score again with --checkpoint DIR, dump logits or the best log-probabilities by token id "
                + "(vLLM: return_tokens_as_token_ids), or take a recipe without entropy."
        case .oldLogprobs: "Score again with --checkpoint DIR, the policy that sampled."
        case .rolloutLogprobs: "Dump the sampler's log-probabilities (rollout_logprobs), or leave out what needs them."
        case .referenceLogprobs: "Score again with --reference DIR."
        case .values: "Score again with --critic DIR, or dump values."
        case .processRewards: "Score again with --process-reward DIR --process-reference DIR."
        case .referenceKL: "Score again with --checkpoint DIR --reference DIR, or set the estimator's kl to k1 or k3."
        case .expectedQ: "Score again with --checkpoint DIR --reference DIR --q-network DIR."
        }
    }
}

/// One rollout as an advantage estimator sees it. Arrays of length L.
package struct Episode: Sendable {
    /// Shaped reward of the outcome.
    package var reward: Double
    package var correct: Bool?
    package var mask: [Bool]
    /// Rewards of single tokens beside the outcome's, such as a KL penalty; nil is none.
    package var tokenRewards: [Double]?
    package var columns: [TokenColumn: [Float]]

    package init(
        reward: Double, correct: Bool? = nil, mask: [Bool], tokenRewards: [Double]? = nil,
        columns: [TokenColumn: [Float]] = [:]
    ) {
        (self.reward, self.correct, self.mask, self.tokenRewards, self.columns) = (
            reward, correct, mask, tokenRewards, columns
        )
    }

    /// All its rewards in one sum.
    package var score: Double { reward + (tokenRewards?.reduce(0, +) ?? 0) }

    /// Trainable positions.
    var positions: [Int] { mask.indices.filter { mask[$0] } }

    /// Rewards of single trainable tokens beside the outcome's.
    var penaltiesByPosition: [Double] { positions.map { tokenRewards?[$0] ?? 0 } }

    /// Reward of each trainable token, the outcome's on the last.
    var rewardsByPosition: [Double] {
        var rewards = penaltiesByPosition
        if !rewards.isEmpty { rewards[rewards.count - 1] += reward }
        return rewards
    }

    /// A column's numbers at the trainable positions; 0 where it is missing.
    func numbers(_ column: TokenColumn) -> [Double] {
        guard let values = columns[column] else { return positions.map { _ in 0 } }
        return positions.map { Double(values[$0]) }
    }

    func spread(_ value: Double) -> EpisodeCredit { EpisodeCredit(advantages: mask.map { $0 ? value : 0 }) }

    /// Per trainable token → per token.
    func spread(_ values: [Double]) -> [Double] {
        var next = 0
        return mask.map { trained in
            guard trained else { return 0 }
            defer { next += 1 }
            return values[next]
        }
    }
}

/// What an estimator makes of one rollout, [L] each.
package struct EpisodeCredit: Equatable, Sendable {
    package var advantages: [Double]
    /// What a critic or Q network is to learn for each token, where the method has one.
    package var returns: [Double]?

    package init(advantages: [Double], returns: [Double]? = nil) {
        (self.advantages, self.returns) = (advantages, returns)
    }
}

/// From rewards to one advantage per token. The conforming struct's properties are the recipe's keys. Arithmetic in
/// Double; sums run in dump order.
package protocol AdvantageEstimator: Codable, Sendable {
    static var name: String { get }
    static var source: String { get }
    init()
    var problems: [String] { get }
    /// Keys that have no effect beside the others, with what stands against them.
    var unread: [String: String] { get }
    /// Whether outcomes are taken as right or wrong wherever there is a verdict, whatever a recipe says they are worth.
    var rewardsByVerdict: Bool { get }
    /// What it reads beside rewards.
    var columns: Set<TokenColumn> { get }
    /// False where rewards say all, and every token of a rollout gets the same.
    var readsTokens: Bool { get }
    /// Whether it says what a critic or Q network is to learn.
    var givesReturns: Bool { get }
    /// Whether advantages are whitened over the plan's trainable tokens afterwards.
    var whitens: Bool { get }
    /// Whether it must know a figure of the whole plan before it can credit any group.
    var readsWholePlan: Bool { get }
    /// Numbers of one group that this figure is made of, and the figure from the numbers of all groups in order.
    func planNumbers(_ group: [Episode]) -> [Double]
    func planScale(_ numbers: [Double]) -> Double
    /// The advantage of each rollout of a group as far as its rewards tell; nil drops the rollout, with `dropReason`.
    func advantages(rewards: [Double], planScale: Double) -> [Double?]
    /// Credit for one group; only rollouts that `advantages` keeps.
    func credit(_ group: [Episode], planScale: Double) -> [EpisodeCredit?]
    static var dropReason: DropReason { get }
}

extension AdvantageEstimator {
    package var problems: [String] { [] }
    package var unread: [String: String] { [:] }
    package var rewardsByVerdict: Bool { false }
    package var columns: Set<TokenColumn> { [] }
    package var readsTokens: Bool { true }
    package var givesReturns: Bool { false }
    package var whitens: Bool { false }
    package var readsWholePlan: Bool { false }
    package static var dropReason: DropReason { .noAdvantage }
    package func planNumbers(_ group: [Episode]) -> [Double] { [] }
    package func planScale(_ numbers: [Double]) -> Double { 1 }
    package func advantages(rewards: [Double], planScale: Double) -> [Double?] { rewards.map { _ in 0 } }

    /// Credit for all groups of a plan that is in memory.
    package func credit(_ groups: [[Episode]]) -> [[EpisodeCredit?]] {
        let scale = readsWholePlan ? planScale(groups.flatMap(planNumbers)) : 1
        return groups.map { credit($0, planScale: scale) }
    }
}

/// An estimator that needs nothing but the rewards of one group and gives every token of a rollout the same.
package protocol GroupEstimator: AdvantageEstimator {
    func advantages(rewards: [Double]) -> [Double?]
}

extension GroupEstimator {
    package var readsTokens: Bool { false }

    package func advantages(rewards: [Double], planScale: Double) -> [Double?] { advantages(rewards: rewards) }

    package func credit(_ group: [Episode], planScale: Double) -> [EpisodeCredit?] {
        zip(group, advantages(rewards: group.map(\.score), planScale: planScale)).map { episode, advantage in
            advantage.map { episode.spread($0) }
        }
    }
}

/// What a group of a single rollout gets, where the estimator compares within the group.
package enum GroupOfOne: String, Codable, CaseIterable, Sendable {
    /// Nothing to compare with (TRL).
    case zero
    /// The reward itself (verl).
    case raw
}
