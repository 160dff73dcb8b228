import Foundation

/// prime-rl's token exports (`token_exports/step_N/rank_R.jsonl`): a packed sequence per line, with one entry per token
/// of `token_ids`, `loss_mask`, `inference_logprobs`, in newer versions `rewards` (the rollout's, repeated). No text
/// and no groups: a step's rollouts of the same prompt are one. The trainer's own columns (its log-probabilities,
/// entropies, advantages, ratios) are left to it: crux-score computes them.
package enum PrimeRLDump: DumpDialect {
    package static let name = "prime_rl"
    package static let source = "prime-rl token_export.py, schema version 1"

    package static func rollouts(_ object: JSONObject, asked: RequestLookup) -> [DumpedRollout]? {
        guard object["schema_version"] != nil, object["token_ids"] != nil, object["loss_mask"] != nil else {
            return nil
        }
        var rollout = DumpedRollout()
        let step = object["export_step"]?.text ?? object["step"]?.text ?? "0"
        let place = "\(object["run_id"]?.identifier.map { $0 + "-" } ?? "")step-\(step)"
        rollout.id = "\(place)-rank-\(object["rank"]?.text ?? "0")-\(object["export_sequence_idx"]?.text ?? "0")"
        rollout.metadata["policy_version"] = step
        rollout.metadata["data_source"] = object["env_name"]?.text
        guard let (ids, mask) = rollout.reading({ () throws(RolloutFault) in try tokens(object) }) else {
            return [rollout]
        }
        guard let start = mask.firstIndex(of: true) else {
            (rollout.promptIDs, rollout.completionIDs) = (ids, [])
            return [rollout]
        }
        (rollout.promptIDs, rollout.completionIDs, rollout.completionMask) = (
            Array(ids[..<start]), Array(ids[start...]), Array(mask[start...])
        )
        rollout.group = "\(place)-" + prefixDigest(ids[..<start]).prefix(16)
        rollout.logprobs = rollout.reading { () throws(RolloutFault) in
            try logprobs(object["inference_logprobs"], count: ids.count)
        }?.dropping(start)
        takeReward(object["rewards"], mask, &rollout)
        return [rollout]
    }

    private static func tokens(_ object: JSONObject) throws(RolloutFault) -> ([Int32], [Bool]) {
        let ids = try tokenIDs(object["token_ids"], "token_ids") ?? []
        guard let flags = object["loss_mask"]?.list else {
            throw RolloutFault(
                .invalidValue, found: "loss_mask \(object["loss_mask"]?.excerpt ?? "")",
                expected: "a list of true and false")
        }
        var mask: [Bool] = []
        for (place, flag) in flags.enumerated() {
            guard let value = flag.bool ?? flag.double.flatMap({ $0 == 0 ? false : $0 == 1 ? true : nil }) else {
                throw RolloutFault(
                    .invalidValue, found: "\(flag.excerpt) at position \(place) of loss_mask", expected: "true or false"
                )
            }
            mask.append(value)
        }
        guard mask.count == ids.count else {
            throw RolloutFault(
                .lengthMismatch, found: "\(mask.count) entries in loss_mask",
                expected: "\(ids.count), one for each of token_ids")
        }
        return (ids, mask)
    }

    /// Absent streams are lists of null.
    private static func logprobs(_ value: JSONValue?, count: Int) throws(RolloutFault) -> GivenLogprobs? {
        guard let value, !value.isNull else { return nil }
        guard let values = value.list else {
            throw RolloutFault(
                .invalidValue, found: "inference_logprobs \(value.excerpt)", expected: "a list of numbers")
        }
        guard values.count == count else {
            throw RolloutFault(
                .lengthMismatch, found: "\(values.count) log-probabilities",
                expected: "\(count), one for each of token_ids")
        }
        return values.allSatisfy(\.isNull) ? nil : GivenLogprobs(values)
    }

    /// The rollout's, repeated for every token; those of trained tokens must agree.
    private static func takeReward(_ value: JSONValue?, _ mask: [Bool], _ rollout: inout DumpedRollout) {
        guard let value, !value.isNull else { return }
        guard let values = value.list, values.count == mask.count else {
            return rollout.takeReward(value.list == nil ? value : .null, "rewards")
        }
        let given = zip(values, mask).filter { $0.1 && !$0.0.isNull }.map { $0.0.float }
        guard let first = given.first else { return }
        if let first, first.isFinite, given.allSatisfy({ $0 == first }) {
            rollout.reward = first
        } else {
            rollout.remarks.insert(.rewardUnusable)
        }
    }
}
