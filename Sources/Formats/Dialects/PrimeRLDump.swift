import Foundation

/// prime-rl's token exports (`token_exports/step_N/rank_R.jsonl`): a packed sequence per line, with one entry per token
/// of `token_ids`, `loss_mask`, `inference_logprobs`, `advantages`, in some versions `rewards` (the rollout's,
/// repeated); since #2746 there are none. No text and no groups: a step's rollouts of the same prompt are one. The
/// trainer's other columns (its log-probabilities, entropies, ratios) are left to it: crux-score computes them.
package enum PrimeRLDump: DumpDialect {
    package static let name = "prime_rl"
    package static let source = "prime-rl token_export.py, schema version 1"

    package static func rollouts(_ object: JSONObject, in context: LineContext) -> [DumpedRollout]? {
        if let trace = trace(object) { return [trace] }
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
            try tokenNumbers(object["inference_logprobs"], "inference_logprobs", count: ids.count)
        }?.dropping(start)
        takeReward(object["rewards"], mask, &rollout)
        takeAdvantages(object, from: start, count: ids.count, &rollout)
        if rollout.reward == nil, !rollout.remarks.contains(.rewardUnusable) {
            rollout.remarks.insert(.rewardNotExported)
        }
        return [rollout]
    }

    /// A line of `traces.jsonl`, an episode with its rewards: nothing in it names a row of the exports, and it has no
    /// tokens of its own.
    private static func trace(_ object: JSONObject) -> DumpedRollout? {
        guard object["traces"]?.list != nil, object["env"]?.object != nil, object["group"]?.object != nil else {
            return nil
        }
        var rollout = DumpedRollout()
        rollout.id = object["id"]?.identifier
        rollout.fault = RolloutFault(
            .noTokenIDs, found: "an episode of prime-rl's traces, which has no token ids",
            expected: "the token exports beside it (token_exports/step_N); --prompts joins their answers")
        return rollout
    }

    /// `rl_weights` multiply what a token's loss weighs, which is to multiply its advantage; null is 1. Weights of its
    /// other losses are a recipe's to choose.
    private static func takeAdvantages(
        _ object: JSONObject, from start: Int, count: Int, _ rollout: inout DumpedRollout
    ) {
        let given = ["advantages", "rl_weights"].map { key in
            rollout.reading { () throws(RolloutFault) in try tokenNumbers(object[key], key, count: count) }
        }
        if ["ce_weights", "ref_kl_weights"].contains(where: { key in
            object[key]?.list?.contains { ($0.double ?? 0) != 0 } ?? false
        }) {
            rollout.remarks.insert(.otherLossesLeftOut)
        }
        guard var advantages = given[0]?.dropping(start) else { return }
        if let weights = given[1]?.dropping(start) {
            for place in weights.values.indices where !weights.values[place].isNaN {
                advantages.values[place] *= weights.values[place]
            }
        }
        rollout.advantages = advantages
    }

    private static func tokens(_ object: JSONObject) throws(RolloutFault) -> ([Int32], [Bool]) {
        let ids = try tokenIDs(object["token_ids"], "token_ids") ?? []
        return (ids, try tokenMask(object["loss_mask"], "loss_mask", count: ids.count))
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
