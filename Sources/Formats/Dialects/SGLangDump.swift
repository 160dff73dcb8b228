/// What SGLang's `/generate` and `Engine.generate` return, one object per line. It repeats the prompt's token ids only
/// where log-probabilities were asked for from its start (`logprob_start_len: 0`); otherwise the driver writes
/// `input_ids` beside.
package enum SGLangDump: DumpDialect {
    package static let name = "sglang"
    package static let source = "SGLang /generate"

    package static func rollouts(_ object: JSONObject, in context: LineContext) -> [DumpedRollout]? {
        guard let meta = object["meta_info"]?.object else { return nil }
        let own = object["custom_id"]?.identifier ?? meta["id"]?.identifier ?? object["rid"]?.identifier
        let request = own.flatMap(context.asked) ?? object.given("group_id")?.identifier.flatMap(context.asked)
        var rollout = DumpedRollout()
        (rollout.id, rollout.request) = (own, request?.id ?? own)
        rollout.completion = object["text"]?.string ?? ""
        readEnd(meta["finish_reason"], &rollout)
        rollout.promptIDs = rollout.reading { () throws(RolloutFault) in
            if let ids = try tokenIDs(object["input_ids"], "input_ids") { return ids }
            return try promptIDs(meta)
        }
        readTokens(object, meta, &rollout)
        rollout.metadata["policy_version"] = meta["weight_version"]?.text
        rollout.takeAdded(to: object)
        if let request { rollout.take(request, prompt: 0) }
        rollout.tokenCount = meta["completion_tokens"]?.int
        rollout.promptTokenCount = meta["prompt_tokens"]?.int
        cutEcho(&rollout)
        return [rollout]
    }

    /// `{"type": "stop", "matched": id or text}`; older servers have the type alone.
    private static func readEnd(_ value: JSONValue?, _ rollout: inout DumpedRollout) {
        let reason = value?.object
        rollout.finishReason = reason?["type"]?.text ?? (reason == nil ? value?.text : nil) ?? ""
        switch FinishReason(rollout.finishReason) {
        case .failed: rollout.fault = .engineError(reason?["message"]?.text ?? rollout.finishReason)
        case .finished:
            guard let matched = reason?.given("matched") else { return }
            if let text = matched.string {
                rollout.stopReason = .text(text)
            } else if let id = tokenID(matched) {
                rollout.stopReason = .token(id)
            }
        case .unknown, .excluded: rollout.remarks.insert(.finishReasonUnknown)
        case .truncated: break
        }
    }

    /// From the prompt's log-probabilities, if they are those of all of it.
    private static func promptIDs(_ meta: JSONObject) throws(RolloutFault) -> [Int32]? {
        guard let triples = meta["input_token_logprobs"]?.list, triples.count == meta["prompt_tokens"]?.int else {
            return nil
        }
        return try tokenIDs(.list(triples.map(id)), "input_token_logprobs")
    }

    /// [log-probability, id, text or null] per token; some servers leave the text out.
    private static func id(_ triple: JSONValue) -> JSONValue {
        triple.list.flatMap { $0.count > 1 ? $0[1] : nil } ?? .null
    }

    private static func readTokens(_ object: JSONObject, _ meta: JSONObject, _ rollout: inout DumpedRollout) {
        let triples = meta["output_token_logprobs"]?.list
        rollout.completionIDs = rollout.reading { () throws(RolloutFault) in
            if let ids = try tokenIDs(object["output_ids"], "output_ids") { return ids }
            return try tokenIDs(triples.map { .list($0.map(id)) }, "output_token_logprobs")
        }
        rollout.logprobs = triples.map { GivenLogprobs($0.map { $0.list?.first ?? .null }) }
        let rows = meta["output_top_logprobs"]?.list?.map { row in
            (row.list ?? []).map { entry in (token: tokenID(id(entry)), logprob: entry.list?.first) }
        }
        rollout.best = TopLogprobs(rows, remarks: &rollout.remarks)
        readSupports(meta, &rollout)
        rollout.experts = rollout.reading { () throws(RolloutFault) in try GivenExperts.ofSGLang(meta) }
    }

    /// `return_sampling_mask`: the ids that top-p, top-k and min-p left, and the log-probabilities over these. A mask
    /// that was cut short is no mask.
    private static func readSupports(_ meta: JSONObject, _ rollout: inout DumpedRollout) {
        if meta["output_token_sampling_mask_truncated"]?.bool == true {
            rollout.remarks.insert(.samplingMaskCut)
            return
        }
        rollout.takeSupports(meta["output_token_sampling_mask"], "output_token_sampling_mask")
        guard let supports = rollout.supports, let given = meta["output_token_sampling_logprobs"]?.list,
            given.count == supports.count, let ids = rollout.completionIDs, ids.count == given.count
        else { return }
        rollout.logprobs = GivenLogprobs(
            given.indices.map { place in
                // A number for each token, or one for each id that could be drawn.
                guard let list = given[place].list else { return given[place] }
                let own = supports[place].firstIndex(of: ids[place])
                return own.flatMap { list.indices.contains($0) ? list[$0] : nil } ?? .null
            })
        rollout.metadata[LogprobKind.key] = LogprobKind.support.rawValue
    }

    /// Drivers that keep the whole sequence have the prompt in front of the sampled ids.
    private static func cutEcho(_ rollout: inout DumpedRollout) {
        guard let ids = rollout.completionIDs, let count = rollout.tokenCount, ids.count != count,
            let prompt = rollout.promptIDs,
            ids.starts(with: prompt), ids.count == count + prompt.count
        else { return }
        rollout.completionIDs = Array(ids.dropFirst(prompt.count))
        if let text = rollout.prompt, let completion = rollout.completion, completion.utf8.starts(with: text.utf8) {
            rollout.completion = String(decoding: completion.utf8.dropFirst(text.utf8.count), as: UTF8.self)
        }
    }
}
