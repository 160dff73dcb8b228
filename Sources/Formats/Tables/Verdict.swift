/// How a rollout's reward came about, or why no plan can use the rollout.
package enum Verdict: String, CaseIterable, TableWord {
    // judged by a reward of ours
    case correct
    case wrong
    case noAnswer = "no_answer"
    case undecided
    case noReference = "no_reference"
    // rewards from elsewhere
    case given
    case noReward = "no_reward"
    case external
    // rewards that failed
    case rewardError = "reward_error"
    case rewardTimeout = "reward_timeout"
    case rewardCrashed = "reward_crashed"
    case rewardInvalid = "reward_invalid"
    // numbers that no plan can use
    case invalidLogits = "invalid_logits"
    case invalidSampledToken = "invalid_sampled_token"
    case invalidHiddenStates = "invalid_hidden_states"
    case invalidEntropy = "invalid_entropy"
    case invalidOldLogprobs = "invalid_old_logprobs"
    case invalidReferenceLogprobs = "invalid_reference_logprobs"
    case invalidValues = "invalid_values"
    case invalidProcessLogprobs = "invalid_process_logprobs"
    case invalidProcessReferenceLogprobs = "invalid_process_reference_logprobs"
    case invalidReferenceKL = "invalid_reference_kl"
    case invalidExpectedQ = "invalid_expected_q"

    /// Whether the rollout's numbers are such that plans leave it out, whatever its reward is.
    package var isUnusable: Bool {
        switch self {
        case .correct, .wrong, .noAnswer, .undecided, .noReference, .given, .noReward, .external, .rewardError,
            .rewardTimeout, .rewardCrashed, .rewardInvalid:
            false
        case .invalidLogits, .invalidSampledToken, .invalidHiddenStates, .invalidEntropy, .invalidOldLogprobs,
            .invalidReferenceLogprobs, .invalidValues, .invalidProcessLogprobs, .invalidProcessReferenceLogprobs,
            .invalidReferenceKL, .invalidExpectedQ:
            true
        }
    }

    /// Whether the reward itself failed, which `--on-reward-failure` is about.
    package var isRewardFailure: Bool {
        [.rewardError, .rewardTimeout, .rewardCrashed, .rewardInvalid].contains(self)
    }

    package var documentation: String {
        switch self {
        case .correct: "the answer that was found is the reference's"
        case .wrong: "the answer that was found is another than the reference's"
        case .noAnswer: "no answer was found in the response, which counts as wrong"
        case .undecided: "it can't be told whether answer and reference are equal: --reward-command may judge it"
        case .noReference: "there is no reference answer to compare with: no reward"
        case .given: "the reward is the dump's own"
        case .noReward: "neither the dump nor a reward command gave one: choose another --reward"
        case .external: "the reward is that of --reward-command"
        case .rewardError: "the reward command said that it can't judge this response; `extracted` has its words"
        case .rewardTimeout: "the reward took longer than --reward-timeout"
        case .rewardCrashed: "the reward command ended without an answer; its stderr is in the log"
        case .rewardInvalid: "the reward command answered with something that is no score"
        case .invalidLogits: "logits hold NaN or +inf: the rollout was sampled by a broken model"
        case .invalidSampledToken: "the logits give the sampled token no probability: they are of another distribution"
        case .invalidHiddenStates: "hidden states whose logits are not finite: give the checkpoint that sampled them"
        case .invalidEntropy: "an entropy is not finite"
        case .invalidOldLogprobs: "a log-probability under the policy is not finite: is it the policy that sampled?"
        case .invalidReferenceLogprobs: "a log-probability under the reference model is not finite"
        case .invalidValues: "a value of the critic is not finite"
        case .invalidProcessLogprobs: "a log-probability under the process reward model is not finite"
        case .invalidProcessReferenceLogprobs:
            "a log-probability under the reference of the process reward model is not finite"
        case .invalidReferenceKL: "a divergence from the reference model is not finite"
        case .invalidExpectedQ: "an expectation of the Q network is not finite"
        }
    }
}
