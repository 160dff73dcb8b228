/// ROLL's `rollout_dump_data.step_{N}.jsonl`: a line holds a step, columns as lists of one length, which
/// `TransposedLine` turns into rows. Text without special tokens, scores, and the prompt's id as the group.
package enum ROLLDump: DumpDialect {
    package static let name = "roll"
    package static let source = "ROLL dump_rollout_to_specific_path, rlvr/utils.py"

    private static let known: Set<String> = [
        "global_step", "id", "prompt", "responses", "scores", "ground_truth", "tag", "domain", "sampling_params",
    ]

    package static func rollouts(_ object: JSONObject, in context: LineContext) -> [DumpedRollout]? {
        guard let prompt = object["prompt"]?.string, let response = object["responses"]?.string,
            object["scores"] != nil
        else { return nil }
        var rollout = DumpedRollout()
        let step = object["global_step"]?.text ?? context.step ?? "0"
        (rollout.prompt, rollout.completion) = (prompt, response)
        rollout.group = object.given("id")?.identifier.map { "step-\(step)-\($0)" }
        rollout.groupScope = "step-\(step)"
        rollout.metadata["prompt_id"] = object.given("id")?.identifier
        rollout.takeReward(object["scores"], "scores")
        rollout.remarks.insert(.finishReasonUnknown)
        for member in object.members where !known.contains(member.key) {
            rollout.metadata[member.key] = member.value.text
            if let number = member.value.double { rollout.numbers[member.key] = number }
        }
        rollout.metadata["policy_version"] = step
        rollout.metadata["reference_answer"] = object["ground_truth"]?.text
        rollout.metadata["data_source"] = (object.given("tag") ?? object.given("domain"))?.text
        takeSampling(object["sampling_params"], &rollout)
        return [rollout]
    }

    /// JSON text of the batch's meta_info: the settings themselves, or with the settings in it.
    private static func takeSampling(_ value: JSONValue?, _ rollout: inout DumpedRollout) {
        let given = value?.object ?? value?.string.flatMap { JSONLine($0).whole }
        guard let given else { return }
        let settings = given["generation_config"]?.object ?? given["sampling_params"]?.object ?? given
        for key in ["temperature", "top_p", "top_k"] {
            if let text = settings.given(key)?.text { rollout.metadata[key] = text }
        }
    }
}
