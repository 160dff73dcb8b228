/// TRL's `completions_{step}.parquet` as JSON lines (`examples/parquet_to_jsonl.py`): text without special tokens, a
/// column for each reward function, and the advantage. What the rewards weigh is not in the file. The log is a queue
/// that is written again after every optimizer step.
package enum TRLDump: DumpDialect {
    package static let name = "trl"
    package static let source = "TRL log_completions, grpo_trainer.py"

    private static let known: Set<String> = ["step", "prompt", "completion", "advantage"]

    package static func rollouts(_ object: JSONObject, in context: LineContext) -> [DumpedRollout]? {
        guard let prompt = object["prompt"], let completion = text(object["completion"]),
            prompt.string != nil || GivenChat.isChat(prompt), let advantage = object["advantage"],
            object["step"] != nil, advantage.list == nil
        else { return nil }
        var rollout = DumpedRollout(
            logged: object, step: object["step"]?.text ?? "0", prompt: prompt.string ?? prompt.encoded,
            completion: completion, known: known)
        if prompt.string == nil {
            rollout.prompt = nil
            rollout.metadata["messages"] = prompt.encoded
            rollout.chat = GivenChat(prompt, in: object)
        }
        rollout.takeOneAdvantage(advantage)
        return [rollout]
    }

    /// Of a conversation's answer, which is a list of messages, what the assistant said.
    private static func text(_ completion: JSONValue?) -> String? {
        guard GivenChat.isChat(completion), let messages = completion?.list?.compactMap(\.object) else {
            return completion?.string
        }
        return messages.filter { $0["role"]?.string == "assistant" }.compactMap { $0["content"]?.string }.joined()
    }
}
