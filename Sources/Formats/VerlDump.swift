import Foundation

/// verl's `trainer.rollout_data_dir` and `validation_data_dir`: `input`, `output`, `gts`, `score`, `step`, what the reward function
/// added, in newer versions `uid`. Text without special tokens, so neither the sampled ids nor the end-of-sequence token can be had
/// back: what is tokenised again is close to what was sampled, not the same.
package enum VerlDump: DumpDialect {
    package static let name = "verl"
    package static let source = "verl rollout_data_dir, ray_trainer.py"

    private static let known: Set<String> = ["input", "output", "gts", "score", "step", "uid", "request_id", "data_source"]

    package static func rollouts(_ object: [String: Any]) -> [DumpedRollout]? {
        guard let input = object["input"] as? String, let output = object["output"] as? String, object["score"] != nil else { return nil }
        var rollout = DumpedRollout()
        let step = DumpedRollout.text(object["step"]) ?? "", names = names(object["uid"] as? String, step: step)
        (rollout.id, rollout.group, rollout.sampleIndex) = (names.id, names.group ?? "step-\(step)-" + SHA256Digest.of(input).prefix(16), names.index)
        (rollout.prompt, rollout.completion) = (input, output)
        // Scores may be text: some versions write every value so.
        rollout.reward = float(object["score"]) ?? (object["score"] as? String).flatMap { Float($0) }
        rollout.metadata = object.filter { !known.contains($0.key) }.compactMapValues { DumpedRollout.text($0) }
        rollout.metadata["reference_answer"] = DumpedRollout.text(object["gts"])
        rollout.metadata["data_source"] = DumpedRollout.text(object["data_source"])
        rollout.metadata["policy_version"] = step.isEmpty ? nil : step
        return [rollout]
    }

    /// `uid` is SAMPLE_ROLLOUT_OUTPUT. Without one, rollouts of a step with the same prompt are a group.
    private static func names(_ uid: String?, step: String) -> (id: String?, group: String?, index: Int) {
        guard let uid else { return (nil, nil, 0) }
        let parts = uid.split(separator: "_", omittingEmptySubsequences: false)
        let group = parts.count > 2 ? parts.dropLast(2).joined(separator: "_") : nil
        return ("step-\(step)-\(uid)", group.map { "step-\(step)-\($0)" }, parts.count > 2 ? Int(parts[parts.count - 2]) ?? 0 : 0)
    }
}
