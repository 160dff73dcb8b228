/// Harbor's agent trajectories (`agent/trajectory.json`, ATIF): steps of a system, a user and an agent, the agent's
/// with token ids from version 1.4 on. Without ids nothing is to be had: an agent's texts can't be rendered back.
package enum ATIFDump: DumpDialect {
    package static let name = "atif"
    package static let source = "Harbor's ATIF, RFC 0001"

    package static func rollouts(_ object: JSONObject, in context: LineContext) -> [DumpedRollout]? {
        guard let version = object["schema_version"]?.string, version.utf8.starts(with: "ATIF".utf8),
            let steps = object["steps"]?.list
        else { return nil }
        let session = object.given("session_id")?.identifier ?? context.file
        var start = DumpedRollout()
        start.id = session
        start.isParsed = true
        start.remarks.insert(.finishReasonUnknown)
        let extra = object["extra"]?.object, metrics = object["final_metrics"]?.object?["extra"]?.object
        start.takeReward(extra?.given("reward") ?? metrics?.given("reward"), "extra.reward")
        for key in ["reference_answer", "data_source", "temperature", "top_p", "policy_version"] {
            start.metadata[key] = extra?.given(key)?.text
        }
        start.group = extra?.given("group_id")?.identifier
        start.metadata["session"] = session
        start.metadata["model"] = object["agent"]?.object?["model_name"]?.text
        let agents = steps.compactMap(\.object).filter { $0["source"]?.string == "agent" }
        start.completion = agents.last?["message"]?.string
        guard let turns = start.reading({ () throws(RolloutFault) in try Self.turns(agents) }) else { return [start] }
        if turns.skipped > 0 { start.remarks.insert(.turnsWithoutIDs) }
        let sequences = turns.sequences.sequences
        return sequences.enumerated().map { number, sequence in
            var rollout = start
            if sequences.count > 1 {
                rollout.id = "\(session)-\(number)"
                rollout.remarks.insert(.historyRewritten)
            }
            rollout.take(sequence)
            return rollout
        }
    }

    /// Those with both lists of ids, and how many have none: the words of these are in the prompts that follow.
    private static func turns(
        _ steps: [JSONObject]
    ) throws(RolloutFault) -> (sequences: TurnSequences, skipped: Int) {
        var sequences = TurnSequences(), skipped = 0
        for step in steps {
            let metrics = step["metrics"]?.object
            guard let prompt = try tokenIDs(metrics?["prompt_token_ids"], "prompt_token_ids"),
                let answer = try tokenIDs(metrics?["completion_token_ids"], "completion_token_ids")
            else {
                skipped += 1
                continue
            }
            try sequences.add(
                prompt: prompt, answer: answer, logprobs: metrics?.given("logprobs")?.list.map { GivenLogprobs($0) })
        }
        guard !sequences.sequences.isEmpty else {
            throw RolloutFault(
                .noTokenIDs, found: "\(steps.count) agent steps without token ids",
                expected: "metrics.prompt_token_ids and metrics.completion_token_ids (ATIF 1.4)")
        }
        return (sequences, skipped)
    }
}
