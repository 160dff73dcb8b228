/// NeMo-RL's `train_data_step{N}.jsonl`: a slice of the step's batch per line, so that every value is a list with one
/// entry (`idx` alone is none), padded to the batch and as long as `input_lengths` says. No groups, temperature or
/// answers: a step's rows with the same prompt are a group.
package enum NeMoRLDump: DumpDialect {
    package static let name = "nemo_rl"
    package static let source = "NeMo-RL log_dir/train_data_step{N}.jsonl, grpo.py"

    package static func rollouts(_ object: JSONObject, in context: LineContext) -> [DumpedRollout]? {
        guard let samples = object["token_ids"]?.list, !samples.isEmpty, object["token_loss_mask"] != nil,
            object["input_lengths"] != nil
        else { return nil }
        return samples.indices.map { NeMoRLSample(object, $0).rollout(context) }
    }
}

/// One of a line's samples.
private struct NeMoRLSample {
    private let line: JSONObject
    private let place: Int

    init(_ line: JSONObject, _ place: Int) { (self.line, self.place) = (line, place) }

    /// Its entry of a list; nil where there is none, or null.
    private subscript(key: String) -> JSONValue? {
        guard let list = line.given(key)?.list, list.indices.contains(place), !list[place].isNull else { return nil }
        return list[place]
    }

    func rollout(_ context: LineContext) -> DumpedRollout {
        var rollout = DumpedRollout()
        rollout.groupScope = context.file
        rollout.metadata["policy_version"] = context.step
        rollout.metadata["data_source"] = self["agent_ref"]?.text
        rollout.remarks.insert(.finishReasonUnknown)
        // With dynamic sampling `rewards` is the unfiltered batch's list, and its entries belong to other rows.
        rollout.takeReward(
            self["filtered_rewards"] ?? (line["filtered_rewards"] == nil ? self["rewards"] : nil), "rewards")
        if self["sample_loss_mask"]?.double == 0 {
            rollout.finishReason = FinishReason.excluded.ownWord
            rollout.remarks.remove(.finishReasonUnknown)
        }
        guard let tokens = rollout.reading({ () throws(RolloutFault) in try tokens() }) else { return rollout }
        takeTexts(tokens.mask, &rollout)
        guard let start = tokens.mask.firstIndex(of: true) else {
            (rollout.promptIDs, rollout.completionIDs) = (tokens.ids, [])
            return rollout
        }
        rollout.promptIDs = Array(tokens.ids[..<start])
        (rollout.completionIDs, rollout.completionMask) = (Array(tokens.ids[start...]), Array(tokens.mask[start...]))
        takeNumbers(&rollout, from: start, to: tokens.ids.count)
        return rollout
    }

    /// Without what pads the sample to the batch.
    private func tokens() throws(RolloutFault) -> (ids: [Int32], mask: [Bool]) {
        let ids = try tokenIDs(self["token_ids"], "token_ids") ?? []
        let mask = try tokenMask(self["token_loss_mask"], "token_loss_mask", count: ids.count)
        guard let length = self["input_lengths"]?.double.flatMap({ Int(exactly: $0) }), (0...ids.count).contains(length)
        else {
            throw RolloutFault(
                .lengthMismatch, found: "input_lengths \(self["input_lengths"]?.excerpt ?? "null")",
                expected: "at most \(ids.count), as many as there are token_ids")
        }
        if let bad = mask.indices.dropFirst(length).first(where: { mask[$0] }) {
            throw RolloutFault(
                .invalidValue, found: "token_loss_mask 1 at position \(bad), behind input_lengths \(length)",
                expected: "0 on padding")
        }
        return (Array(ids.prefix(length)), Array(mask.prefix(length)))
    }

    /// The sampler's and the trainer's, each at its own token, and advantages per token or one for all.
    private func takeNumbers(_ rollout: inout DumpedRollout, from start: Int, to end: Int) {
        let padded = self["token_ids"]?.list?.count ?? 0
        func numbers(_ key: String) -> GivenLogprobs? {
            let list = rollout.reading { () throws(RolloutFault) in try tokenNumbers(self[key], key, count: padded) }
            return list?.prefix(end).dropping(start)
        }
        rollout.logprobs = numbers("generation_logprobs")
        rollout.oldLogprobs = numbers("prev_logprobs")
        if let one = self["advantages"], one.list == nil {
            rollout.advantages = GivenLogprobs(Array(repeating: one, count: end - start))
        } else {
            rollout.advantages = numbers("advantages")
        }
    }

    /// The turns' texts, whose roles nobody says: the last one is the response where the policy had one turn.
    private func takeTexts(_ mask: [Bool], _ rollout: inout DumpedRollout) {
        guard let turns = self["content"]?.list?.compactMap(\.string), let last = turns.last else { return }
        let starts = mask.indices.count { mask[$0] && ($0 == 0 || !mask[$0 - 1]) }
        guard starts == 1, turns.count > 1 else {
            (rollout.completion, rollout.holdsPrompt) = (turns.joined(), true)
            return
        }
        (rollout.prompt, rollout.completion) = (turns.dropLast().joined(), last)
    }
}
