import Files

/// verl's `trainer.rollout_data_dir` and `validation_data_dir`: `input`, `output`, `gts`, `score`, `step`, what the
/// reward function added, in newer versions `uid`. Text without special tokens, so neither the sampled ids nor the
/// end-of-sequence token can be had back: what is tokenised again is close to what was sampled, not the same.
package enum VerlDump: DumpDialect {
    package static let name = "verl"
    package static let source = "verl rollout_data_dir, ray_trainer.py"

    private static let known = ["input", "output", "gts", "score", "step", "uid", "request_id", "data_source"]

    package static func rollouts(_ object: JSONObject, in context: LineContext) -> [DumpedRollout]? {
        guard let input = object["input"]?.string, let output = object["output"]?.string, object["score"] != nil else {
            return nil
        }
        var rollout = DumpedRollout()
        let step = object["step"]?.text ?? "", names = names(object["uid"]?.identifier, step: step)
        (rollout.id, rollout.sampleIndex) = (names.id, names.index)
        rollout.group = names.group ?? "step-\(step)-" + SHA256Digest.of(input).prefix(16)
        (rollout.prompt, rollout.completion) = (input, output)
        rollout.takeReward(object["score"], "score")
        for member in object.members where !known.contains(member.key) {
            rollout.metadata[member.key] = member.value.text
        }
        rollout.metadata["reference_answer"] = object["gts"]?.text
        rollout.metadata["data_source"] = object["data_source"]?.text
        rollout.metadata["policy_version"] = step.isEmpty ? nil : step
        return [rollout]
    }

    /// `uid` is SAMPLE_ROLLOUT_OUTPUT. Without one, rollouts of a step with the same prompt are a group.
    private static func names(_ uid: String?, step: String) -> (id: String?, group: String?, index: Int) {
        guard let uid else { return (nil, nil, 0) }
        let parts = uid.split(separator: "_", omittingEmptySubsequences: false)
        let group = parts.count > 2 ? parts.dropLast(2).joined(separator: "_") : nil
        return (
            "step-\(step)-\(uid)", group.map { "step-\(step)-\($0)" },
            parts.count > 2 ? Int(parts[parts.count - 2]) ?? 0 : 0
        )
    }
}
