/// open-instruct's `save_traces`, `{rollouts_save_path}/{run}_rollouts_{shard}.jsonl`. There is no mask: with tools the
/// response's tokens are the tools' words too, so such rows are taken on the user's word alone.
package enum OpenInstructDump: DumpDialect {
    package static let name = "open_instruct"
    package static let source = "open-instruct save_traces, rl_utils.py"

    package static func rollouts(_ object: JSONObject, in context: LineContext) -> [DumpedRollout]? {
        guard object["prompt_tokens"] != nil, object["response_tokens"] != nil, object["prompt_idx"] != nil else {
            return nil
        }
        var rollout = DumpedRollout()
        // Prompts and samples are numbered within the step.
        let step = object["step"]?.text ?? "0", sample = object["sample_idx"]?.text ?? "0"
        rollout.id = "step-\(step)-sample-\(sample)"
        rollout.group = "step-\(step)-prompt-\(object["prompt_idx"]?.text ?? "0")"
        rollout.sampleIndex = object["sample_idx"]?.int ?? 0
        rollout.metadata["policy_version"] = step
        rollout.promptIDs = rollout.reading { () throws(RolloutFault) in
            try tokenIDs(object["prompt_tokens"], "prompt_tokens") ?? []
        }
        let ids = rollout.reading { () throws(RolloutFault) in
            try tokenIDs(object["response_tokens"], "response_tokens") ?? []
        }
        rollout.completionIDs = ids
        rollout.logprobs = object.given("logprobs")?.list.map { GivenLogprobs($0) }
        if let advantage = object.given("advantage") {
            rollout.advantages = GivenLogprobs(Array(repeating: advantage, count: ids?.count ?? 0))
        }
        rollout.takeReward(object["reward"], "reward")
        rollout.finishReason = object["finish_reason"]?.text ?? ""
        if FinishReason(rollout.finishReason) == .unknown { rollout.remarks.insert(.finishReasonUnknown) }
        takeTexts(object, &rollout)
        rollout.hidesToolTokens = hasCalledTools(object["request_info"]?.object)
        return [rollout]
    }

    /// Text, a list of which the first is taken, or token ids, of which nothing can be made here.
    private static func takeTexts(_ object: JSONObject, _ rollout: inout DumpedRollout) {
        func text(_ key: String) -> String? {
            guard let value = object.given(key) else { return nil }
            return value.string ?? value.list?.first?.string ?? (value.list == nil ? value.text : nil)
        }
        rollout.metadata["reference_answer"] = text("ground_truth")
        rollout.metadata["data_source"] = text("dataset")
        if object.given("ground_truth")?.list?.isEmpty == false, rollout.metadata["reference_answer"] == nil {
            rollout.remarks.insert(.referenceUnusable)
        }
    }

    private static func hasCalledTools(_ info: JSONObject?) -> Bool {
        ["num_calls", "tool_calleds"].contains { info?[$0].map(isSomething) ?? false }
    }

    /// A number above 0, true, or a list with one of these.
    private static func isSomething(_ value: JSONValue) -> Bool {
        value.bool ?? value.double.map { $0 > 0 } ?? value.list?.contains(where: isSomething) ?? false
    }
}
