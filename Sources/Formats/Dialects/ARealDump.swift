/// AReaL's `dump_to_file`, `rollout/{tail_version}/{task_id}.jsonl`: prompt and completion as text with its special
/// tokens, which gives nearly the same ids when each is tokenised apart and none is added. What AReaL counts tells
/// where it doesn't. Files are appended to, so a resumed run repeats rows.
package enum ARealDump: DumpDialect {
    package static let name = "areal"
    package static let source = "AReaL dump_to_file, workflow_executor.py"

    package static func rollouts(_ object: JSONObject, in context: LineContext) -> [DumpedRollout]? {
        guard let prompt = object["prompt"]?.string, let completion = object["completion"]?.string,
            object["tail_version"] != nil, let whole = object["seqlen"]?.int, let length = object["prompt_len"]?.int
        else { return nil }
        var rollout = DumpedRollout()
        let task = object["task_id"]?.identifier ?? "0"
        rollout.id = "task-\(task)-\(object["sample_idx"]?.text ?? "0")"
        rollout.group = "task-\(task)"
        rollout.sampleIndex = object["sample_idx"]?.int ?? 0
        (rollout.prompt, rollout.completion, rollout.addsSpecialTokens) = (prompt, completion, false)
        (rollout.promptTokenCount, rollout.tokenCount) = (length, whole - length)
        rollout.takeReward(object["reward"], "reward")
        // `head_version` is the least over all tokens, and prompts have -1: it says nothing.
        rollout.metadata["policy_version"] = object["tail_version"]?.text
        // The prompt's length is that of all tokens outside of the mask: with several turns the tools' words are
        // counted as prompt, and nothing in the row shows it.
        rollout.metadata[turnsUnknown] = "true"
        rollout.remarks.insert(.finishReasonUnknown)
        return [rollout]
    }

    /// Key of the metadata that says so.
    package static let turnsUnknown = "turns_unknown"
}
