import Files

/// ms-swift's `completions.jsonl`: a line holds a batch, columns as lists of one length, which `TransposedLine` turns
/// into rows; under Ray a row is an object of its own. Text, a column for each reward function, and a queue like TRL's.
package enum MSSwiftDump: DumpDialect {
    package static let name = "ms_swift"
    package static let source = "ms-swift log_completions, grpo_trainer.py"

    private static let known: Set<String> = ["step", "gen_step", "prompt", "completion", "advantages"]

    package static func rollouts(_ object: JSONObject, in context: LineContext) -> [DumpedRollout]? {
        guard let prompt = object["prompt"]?.string, let completion = object["completion"]?.string,
            object["gen_step"] != nil || object["advantages"].map({ $0.list == nil }) ?? false
        else { return nil }
        let step = object["step"]?.text ?? object["gen_step"]?.text ?? "0"
        var rollout = DumpedRollout(
            logged: object, step: step, prompt: prompt, completion: completion, known: known)
        if let advantage = object["advantages"] { rollout.takeOneAdvantage(advantage) }
        return [rollout]
    }
}

extension DumpedRollout {
    /// A row of a trainer's log of completions, which is a queue. What is not `known` of its columns may be a reward,
    /// and is kept.
    init(logged object: JSONObject, step: String, prompt: String, completion: String, known: Set<String>) {
        self.init()
        (self.prompt, self.completion) = (prompt, completion)
        group = "step-\(step)-" + SHA256Digest.of(prompt).prefix(16)
        metadata["policy_version"] = step
        remarks.insert(.finishReasonUnknown)
        let advantage = (object["advantage"] ?? object["advantages"])?.text ?? ""
        queued = QueuedRow(step: step, [prompt, completion, advantage])
        for member in object.members where !known.contains(member.key) {
            metadata[member.key] = member.value.text
            if let number = member.value.double { numbers[member.key] = number }
        }
    }

    /// One for every token, however many the text will have.
    mutating func takeOneAdvantage(_ value: JSONValue) {
        guard !value.isNull else { return }
        advantage = value.float
        if advantage?.isFinite != true { remarks.insert(.advantagesUnusable) }
    }
}
