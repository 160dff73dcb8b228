/// Why a rollout is left out of a plan; its name is what `dropped.arrow`, counts and messages say. A new reason: a case
/// here, with its name and what it means.
package enum DropReason: Hashable, Sendable {
    /// The scores call it unusable: their verdict, `invalid_…`.
    case unusable(verdict: String)
    case noReward
    case notFiniteReward
    case rewardOutOfRange
    /// A column of it has a trainable token whose number is none.
    case notFinite(TokenColumn)
    case onlyEndTokens
    case correction
    case notPrivileged
    case degenerateGroup
    case accuracyOutOfRange
    case noAdvantage
    case notPositive
    case baseline
    case notFiniteAdvantage
    case truncated
    case excluded
    case noVerdict
    case noPair
    case degenerateState
    case missingValue
    case valuesOnly
    case unknownJob

    package var name: String {
        switch self {
        case .unusable(let verdict): verdict
        case .noReward: "no_reward"
        case .notFiniteReward: "not_finite_reward"
        case .rewardOutOfRange: "reward_out_of_range"
        case .notFinite(let column): "not_finite_\(column.rawValue)"
        case .onlyEndTokens: "only_end_tokens"
        case .correction: "correction"
        case .notPrivileged: "not_privileged"
        case .degenerateGroup: "degenerate_group"
        case .accuracyOutOfRange: "accuracy_out_of_range"
        case .noAdvantage: "no_advantage"
        case .notPositive: "not_positive"
        case .baseline: "baseline"
        case .notFiniteAdvantage: "not_finite_advantage"
        case .truncated: "truncated"
        case .excluded: "excluded"
        case .noVerdict: "no_verdict"
        case .noPair: "no_pair"
        case .degenerateState: "degenerate_state"
        case .missingValue: "missing_value"
        case .valuesOnly: "values_only"
        case .unknownJob: "unknown_job"
        }
    }

    /// What it means, for who reads it in a table.
    package var meaning: String {
        switch self {
        case .unusable: "the scores could make nothing of it: their verdict is the reason"
        case .noReward: "it has no reward"
        case .notFiniteReward: "its shaped reward is no number that float32 can hold"
        case .rewardOutOfRange: "its shaped reward lies outside of what the objective takes"
        case .notFinite(let column): "a trainable token's \(column.rawValue) is NaN or infinite"
        case .onlyEndTokens: "no token of it but ends a sequence (entropy.exclude_eos)"
        case .correction: "the correction gives none of its tokens any weight (correction.rejected: exclude)"
        case .notPrivileged: "its teacher had nothing to be told of (advantage.teacher.unprivileged: drop)"
        case .degenerateGroup: "its group gives no contrast (filter.degenerate_groups: drop)"
        case .accuracyOutOfRange: "its group's accuracy lies outside of filter.min_accuracy and filter.max_accuracy"
        case .noAdvantage: "the estimator gives it no advantage"
        case .notPositive: "its reward is not positive (advantage positive_reward)"
        case .baseline: "a greedy rollout: the others of its group are compared with it (advantage remax)"
        case .notFiniteAdvantage: "its advantage is no number that float32 can hold"
        case .truncated: "it was cut off by the length limit (filter.truncated: drop)"
        case .excluded: "the trainer that dumped it left it out of its loss: it counts in its group alone"
        case .noVerdict: "a pair wants to know whether it is right, and nobody says so"
        case .noPair: "no other rollout of its group makes a pair with it"
        case .degenerateState: "the continuations of its state all have one reward"
        case .missingValue: "a state of it came back without a continuation, so that it has no value"
        case .valuesOnly: "a continuation that only says what its state is worth"
        case .unknownJob: "it belongs to none of the plan's jobs"
        }
    }

    /// Every reason, those of many names by one of them, in the order of this file.
    package static let all: [DropReason] =
        [.unusable(verdict: "invalid_logits"), .noReward, .notFiniteReward, .rewardOutOfRange]
        + TokenColumn.allCases.filter { ![.entropy, .entropyLow, .entropyHigh].contains($0) }.map { .notFinite($0) }
        + [
            .onlyEndTokens, .correction, .notPrivileged, .degenerateGroup, .accuracyOutOfRange, .noAdvantage,
            .notPositive, .baseline, .notFiniteAdvantage, .truncated, .excluded, .noVerdict, .noPair, .degenerateState,
            .missingValue, .valuesOnly,
            .unknownJob,
        ]
}
