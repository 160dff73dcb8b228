/// What SGLang's `/generate` and `Engine.generate` return, one object per line. It repeats the prompt's token ids only where
/// log-probabilities were asked for from its start (`logprob_start_len: 0`); otherwise the driver writes `input_ids` beside.
package enum SGLangDump: DumpDialect {
    package static let name = "sglang"
    package static let source = "SGLang /generate"

    package static func rollouts(_ object: [String: Any]) -> [DumpedRollout]? {
        guard let meta = object["meta_info"] as? [String: Any] else { return nil }
        let result = SGLangGenerate.result(object, meta, meta["id"] as? String ?? object["rid"] as? String ?? "")
        var rollout = DumpedRollout(result, index: 0, of: 1)
        rollout.promptIDs = promptIDs(meta)
        rollout.metadata["policy_version"] = DumpedRollout.text(meta["weight_version"])
        rollout.take(beside: object)
        return [rollout]
    }

    /// From the prompt's log-probabilities, if they are those of all of it.
    private static func promptIDs(_ meta: [String: Any]) -> [Int32]? {
        guard let triples = meta["input_token_logprobs"] as? [[Any]], triples.count == meta["prompt_tokens"] as? Int else { return nil }
        return tokens(triples.map { $0.count > 1 ? $0[1] : 0.5 })
    }
}
