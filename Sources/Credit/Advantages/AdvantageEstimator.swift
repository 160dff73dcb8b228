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
    /// As the trainer that dumped the rollouts made them.
    case advantages
    case referenceLogprobs = "reference_logprobs"
    /// Under a teacher, else under the reference.
    case teacherLogprobs = "teacher_logprobs"
    /// A critic's, of the state before the token.
    case values
    /// log-probability under an implicit reward model minus that under its reference (PRIME's q_t).
    case processRewards = "process_rewards"
    /// KL(policy || reference) over the whole vocabulary, of the state before the token.
    case referenceKL = "reference_kl"
    /// Σ_v π(v) Q(v) over the whole vocabulary, of the state before the token.
    case expectedQ = "expected_q"
    /// Σ_v π(v)² over the whole vocabulary, of the state before the token.
    case sumPSquared = "sum_p_squared"

    /// What to run so that the column is there.
    package var remedy: String {
        switch self {
        case .entropy, .entropyLow, .entropyHigh:
            "Score again with --checkpoint DIR, dump logits or the best log-probabilities by token id "
                + "(vLLM: return_tokens_as_token_ids), or take a recipe without entropy."
        case .oldLogprobs: "Score again with --checkpoint DIR, the policy that sampled."
        case .rolloutLogprobs: "Dump the sampler's log-probabilities (rollout_logprobs), or leave out what needs them."
        case .advantages:
            "Ingest a dump that has them (prime-rl, NeMo-RL, open-instruct, TRL, ms-swift, or shards with advantages)."
        case .referenceLogprobs: "Score again with --reference DIR."
        case .teacherLogprobs: "Score again with --teacher DIR (or --reference DIR), or dump teacher_logprobs."
        case .values: "Score again with --critic DIR, or dump values."
        case .processRewards: "Score again with --process-reward DIR --process-reference DIR."
        case .referenceKL: "Score again with --checkpoint DIR --reference DIR, or set the estimator's kl to k1 or k3."
        case .expectedQ: "Score again with --checkpoint DIR --reference DIR --q-network DIR."
        case .sumPSquared: "Score again with --sum-p-squared; it is taken from the dump's logits."
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
    /// Whether it was decoded greedily: what others are compared with, where a method does that.
    package var isGreedy = false
    /// What was there to see before each turn; nil where nobody wants to know.
    package var turnStates: [String]?
    /// Several rewards, where a recipe names them.
    package var components: [EpisodeOutcome.Reward] = []
    /// What its tokens weigh by what trainer and sampler disagree about, [L]; nil without a correction.
    package var correctionWeights: [Double]?

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

    /// What is known of it without its tokens.
    var outcome: EpisodeOutcome {
        EpisodeOutcome(
            score: score, correct: correct, trainable: mask.count { $0 }, isGreedy: isGreedy, components: components)
    }

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

/// One rollout as an estimator sees it that reads no tokens.
package struct EpisodeOutcome: Sendable {
    /// All its rewards in one sum.
    package var score: Double
    package var correct: Bool?
    /// Tokens to train on.
    package var trainable: Int
    package var isGreedy: Bool
    private var components: [Reward]

    /// One of several rewards; nil where the rollout has none of that name.
    package struct Reward: Sendable {
        package var value: Double?
        package var weight: Double

        package init(value: Double?, weight: Double) { (self.value, self.weight) = (value, weight) }
    }

    package init(
        score: Double, correct: Bool? = nil, trainable: Int = 1, isGreedy: Bool = false, components: [Reward] = []
    ) {
        (self.score, self.correct, self.trainable, self.isGreedy) = (score, correct, trainable, isGreedy)
        self.components = components
    }

    /// The rewards by themselves; all in one where a recipe names none.
    var rewards: [Reward] { components.isEmpty ? [Reward(value: score, weight: 1)] : components }

    /// By its verdict; where there is none, by a reward that is more than half of what a right answer is worth.
    var isRight: Bool { correct ?? (score > 0.5) }
}

/// What an estimator has to say of a group that it can't credit as a reader may expect.
package enum GroupRemark: Hashable, Sendable {
    /// There is no plan with it.
    case refused(found: String, expected: String)
    /// It gets no advantages; the reason, in words that follow "3 groups".
    case idle(String)
}

/// A group that the method of a recipe can't take.
package struct CreditRefusal: Error, CustomStringConvertible {
    package let group: String
    package let found: String
    package let expected: String

    package var description: String { "group '\(group)': found \(found), expected \(expected)" }
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
    /// Whether it wants to know which rollouts were decoded greedily.
    var readsGreedy: Bool { get }
    /// Whether it wants to know what was there to see before each turn.
    var readsTurns: Bool { get }
    /// Whether it looks at several rewards one by one, not at their sum.
    var readsComponents: Bool { get }
    /// Whether it wants to know the correction's weights.
    var readsCorrection: Bool { get }
    /// False where rollouts need no reward.
    var readsRewards: Bool { get }
    /// False where rewards say all, and every token of a rollout gets the same.
    var readsTokens: Bool { get }
    /// Whether it says what a critic or Q network is to learn.
    var givesReturns: Bool { get }
    /// Whether advantages are whitened over the plan's trainable tokens afterwards.
    var whitens: Bool { get }
    /// Whether it must know a figure of the whole plan before it can credit any group.
    var readsWholePlan: Bool { get }
    /// Numbers of one group that figures of the whole plan are made of; how those of the next group join those of
    /// the groups before it; and the figures that come of all.
    func planNumbers(_ group: [Episode]) -> [Double]
    func gather(_ numbers: inout [Double], _ next: [Double])
    func planFigures(_ numbers: [Double]) -> [Double]
    /// What is to be said of a group before it is credited.
    func remark(_ group: [EpisodeOutcome]) -> GroupRemark?
    /// The advantage of each rollout of a group as far as its outcomes tell; nil drops the rollout, with `dropReason`.
    func advantages(_ group: [EpisodeOutcome], plan: [Double]) -> [Double?]
    /// Credit for one group; only rollouts that `advantages` keeps. `plan`: figures of the whole plan.
    func credit(_ group: [Episode], plan: [Double]) -> [EpisodeCredit?]
    static var dropReason: DropReason { get }
    /// What a reader of any plan of it should know.
    var caveats: [String] { get }
}

extension AdvantageEstimator {
    package var problems: [String] { [] }
    package var unread: [String: String] { [:] }
    package var rewardsByVerdict: Bool { false }
    package var columns: Set<TokenColumn> { [] }
    package var readsGreedy: Bool { false }
    package var readsTurns: Bool { false }
    package var readsComponents: Bool { false }
    package var readsCorrection: Bool { false }
    package var readsRewards: Bool { true }
    package var readsTokens: Bool { true }
    package var givesReturns: Bool { false }
    package var whitens: Bool { false }
    package var readsWholePlan: Bool { false }
    package static var dropReason: DropReason { .noAdvantage }
    package var caveats: [String] { [] }
    package func planNumbers(_ group: [Episode]) -> [Double] { [] }
    package func gather(_ numbers: inout [Double], _ next: [Double]) { numbers += next }
    package func planFigures(_ numbers: [Double]) -> [Double] { [] }
    package func remark(_ group: [EpisodeOutcome]) -> GroupRemark? { nil }
    package func advantages(_ group: [EpisodeOutcome], plan: [Double]) -> [Double?] { group.map { _ in 0 } }

    /// Credit for all groups of a plan that is in memory.
    package func credit(_ groups: [[Episode]]) -> [[EpisodeCredit?]] {
        var numbers: [Double] = []
        if readsWholePlan { for group in groups { gather(&numbers, planNumbers(group)) } }
        let plan = readsWholePlan ? planFigures(numbers) : []
        return groups.map { credit($0, plan: plan) }
    }
}

/// An estimator that needs no tokens and gives every token of a rollout the same.
package protocol OutcomeEstimator: AdvantageEstimator {}

extension OutcomeEstimator {
    package var readsTokens: Bool { false }

    package func credit(_ group: [Episode], plan: [Double]) -> [EpisodeCredit?] {
        zip(group, advantages(group.map(\.outcome), plan: plan)).map { episode, advantage in
            advantage.map { episode.spread($0) }
        }
    }
}

/// One that needs nothing but the rewards of one group.
package protocol GroupEstimator: OutcomeEstimator {
    func advantages(rewards: [Double]) -> [Double?]
}

extension GroupEstimator {
    package func advantages(_ group: [EpisodeOutcome], plan: [Double]) -> [Double?] {
        advantages(rewards: group.map(\.score))
    }
}

/// What a group of a single rollout gets, where the estimator compares within the group.
package enum GroupOfOne: String, Codable, CaseIterable, Sendable {
    /// Nothing to compare with (TRL).
    case zero
    /// The reward itself (verl).
    case raw
}
