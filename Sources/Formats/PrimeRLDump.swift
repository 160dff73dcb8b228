import Foundation

/// prime-rl's token exports (`token_exports/step_N/rank_R.jsonl`): a packed sequence per line, with one entry per token of
/// `token_ids`, `loss_mask`, `inference_logprobs`, in newer versions `rewards` (the rollout's, repeated). No text and no groups:
/// a step's rollouts of the same prompt are one. The trainer's own columns (its log-probabilities, entropies, advantages, ratios)
/// are left to it: crux-score computes them.
package enum PrimeRLDump: DumpDialect {
    package static let name = "prime_rl"
    package static let source = "prime-rl token_export.py, schema version 1"

    package static func rollouts(_ object: [String: Any]) -> [DumpedRollout]? {
        guard object["schema_version"] != nil, let ids = tokens(object["token_ids"]), let flags = object["loss_mask"] as? [NSNumber] else { return nil }
        let mask = flags.map(\.boolValue)
        var rollout = DumpedRollout()
        let step = number(object, "export_step") ?? number(object, "step") ?? 0, run = object["run_id"] as? String
        let place = "\(run.map { $0 + "-" } ?? "")step-\(step)"
        rollout.id = "\(place)-rank-\(number(object, "rank") ?? 0)-\(number(object, "export_sequence_idx") ?? 0)"
        rollout.metadata["policy_version"] = "\(step)"
        rollout.metadata["data_source"] = object["env_name"] as? String
        guard mask.count == ids.count, let start = mask.firstIndex(of: true) else {
            rollout.error = mask.count == ids.count ? nil : "\(mask.count) entries in loss_mask for \(ids.count) token_ids"
            (rollout.promptIDs, rollout.completionIDs) = (ids, [])
            return [rollout]
        }
        (rollout.promptIDs, rollout.completionIDs, rollout.completionMask) = (Array(ids[..<start]), Array(ids[start...]), Array(mask[start...]))
        rollout.group = "\(place)-" + prefixDigest(ids[..<start]).prefix(16)
        rollout.logprobs = floats(object["inference_logprobs"], mask).map { Array($0[start...]) }
        rollout.reward = reward(object["rewards"], mask)
        return [rollout]
    }

    private static func number(_ object: [String: Any], _ key: String) -> Int? { (object[key] as? NSNumber)?.intValue }

    /// Numbers beside the tokens; what was not finite came as null, which is no log-probability where the mask is 1.
    private static func floats(_ value: Any?, _ mask: [Bool]) -> [Float]? {
        guard let values = value as? [Any], values.count == mask.count else { return nil }
        return zip(values, mask).map { $1 ? float($0) ?? -.infinity : 0 }
    }

    private static func reward(_ value: Any?, _ mask: [Bool]) -> Float? {
        guard let values = value as? [Any], values.count == mask.count else { return nil }
        let rewards = zip(values, mask).filter { $0.1 }.map { float($0.0) }
        return rewards.allSatisfy { $0 == rewards.first } ? rewards.first ?? nil : nil
    }
}
