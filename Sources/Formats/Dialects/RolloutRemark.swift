/// What a rollout was kept without, or what had to be taken on trust: counted, and said in the report.
package enum RolloutRemark: String, Codable, CaseIterable, Sendable {
    case brokenText = "broken_text"
    case nestingCut = "nesting_cut"
    case topLogprobsAsText = "top_logprobs_as_text"
    case topLogprobsUnusable = "top_logprobs_unusable"
    case logprobsDropped = "logprobs_dropped"
    case rewardUnusable = "reward_unusable"
    case finishReasonUnknown = "finish_reason_unknown"
    case stopTokenUnknown = "stop_token_unknown"
    case stopStringLeftOut = "stop_string_left_out"
    case completionUnknown = "completion_unknown"
    case promptUnchecked = "prompt_unchecked"
    case turnEndLeftOut = "turn_end_left_out"
    case samplingAssumed = "sampling_assumed"
    case samplingShaped = "sampling_shaped"
    case samplingMaskCut = "sampling_mask_cut"
    case samplingMaskUnusable = "sampling_mask_unusable"
    case advantagesUnusable = "advantages_unusable"
    case otherLossesLeftOut = "other_losses_left_out"
    case referenceUnusable = "reference_unusable"
    case promptLogprobsLeftOut = "prompt_logprobs_left_out"
    case promptUnplaced = "prompt_unplaced"
    case promptAmbiguous = "prompt_ambiguous"
    case expertsWithoutShape = "experts_without_shape"
    case expertsUnusable = "experts_unusable"
    case turnsWithoutIDs = "turns_without_ids"
    case historyRewritten = "history_rewritten"
    case rewardNotExported = "reward_not_exported"
    case rewardColumnsUnnamed = "reward_columns_unnamed"
    case toolTokensTrusted = "tool_tokens_trusted"
    case turnsUnknown = "turns_unknown"

    /// Behind "N rollouts ".
    package var sentence: String {
        switch self {
        case .brokenText: "have text with lone surrogates or bytes that are no UTF-8: U+FFFD stands in their place"
        case .nestingCut:
            "come from lines with values nested deeper than \(JSONReader.maximumDepth), which are passed over"
        case .topLogprobsAsText:
            "have their best log-probabilities by text, which several ids may share: no entropy evidence. "
                + "Ask for return_tokens_as_token_ids"
        case .topLogprobsUnusable:
            "have best log-probabilities that are none (NaN, null, above 0, too few): no interval at those tokens"
        case .logprobsDropped:
            "have log-probabilities that are none, dropped as --invalid-logprobs says: score with --checkpoint"
        case .rewardUnusable: "have a reward that is not one finite number: kept without it"
        case .finishReasonUnknown:
            "don't say, or not in known words, why they ended: filter.truncated takes them for whole"
        case .stopTokenUnknown:
            "were stopped by nobody knows what (no stop_reason, no matched, no token count): no end-of-sequence token was put behind their text"
        case .stopStringLeftOut:
            "were stopped by a string whose tokens are not known: they end before it. Ask for return_token_ids"
        case .completionUnknown:
            "have the prompt within their text and nothing that says where it ends: no completion text. Give --tokenizer"
        case .promptUnchecked:
            "have a prompt that the chat template of --tokenizer made, and no count of the engine's to hold it against"
        case .turnEndLeftOut:
            "have text of the template behind the token that ends a turn (mostly a line's end): nobody sampled it, and it is not trained on"
        case .samplingAssumed:
            "have no temperature of their own, in the line or in its request: taken as --temperature (1 where not given)"
        case .samplingMaskCut:
            "have a sampling mask that the engine cut short: kept without it. Ask for all of it"
        case .samplingMaskUnusable:
            "have a sampling mask of other tokens than theirs (text that was made tokens again): kept without it"
        case .advantagesUnusable:
            "have an advantage that is not finite on a token to be trained on: kept without theirs"
        case .otherLossesLeftOut:
            "have weights of other losses than the policy's (ce_weights, ref_kl_weights): left out, a recipe chooses them"
        case .referenceUnusable:
            "have token ids for a reference answer, of which no text can be made: kept without one. Give --prompts"
        case .promptLogprobsLeftOut:
            "come with log-probabilities of their prompts (prompt_logprobs), which are left out"
        case .promptUnplaced: "answer no prompt of --prompts: nothing is joined to them"
        case .promptAmbiguous: "answer a prompt that --prompts has with several answers: nothing is joined to them"
        case .expertsWithoutShape:
            "have routed experts without a shape: kept without them. Say it with --routed-experts LAYERSxK, or give --tokenizer the checkpoint's folder"
        case .expertsUnusable:
            "have routed experts of other tokens than theirs (text that was made tokens again): kept without them"
        case .turnsWithoutIDs: "have turns of the agent without token ids, whose words are not trained on"
        case .historyRewritten:
            "are a part of a conversation whose history was written anew: extras.session holds the parts together"
        case .rewardNotExported:
            "have no reward, as in prime-rl's newer exports: plan with advantage given, or join answers with --prompts "
                + "and score these"
        case .rewardColumnsUnnamed:
            "have no reward, but columns that may be: say which, and what they weigh, with --reward-columns a,b:0.5"
        case .toolTokensTrusted:
            "called tools and have no mask: their tools' words are trained on, as --trust-all-response-tokens says"
        case .turnsUnknown:
            "don't say how many turns they have: with several, the boundary of prompt and response is wrong. --one-turn says that there is one"
        case .samplingShaped:
            "were sampled with penalties, min_p, a bias or a grammar: their log-probabilities may not be those of softmax(logits / temperature)"
        }
    }
}
