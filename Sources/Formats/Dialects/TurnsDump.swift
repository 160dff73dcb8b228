/// Several turns of one rollout on a line: `{"custom_id": …, "turns": [response, …]}`, each response as an OpenAI or
/// SGLang server returned it, with its prompt's token ids. They become one sequence with the answers masked in, or
/// several where the history was written anew.
package enum TurnsDump: DumpDialect {
    package static let name = "turns"
    package static let source = "a driver's own, of OpenAI and SGLang responses"

    package static func rollouts(_ object: JSONObject, in context: LineContext) -> [DumpedRollout]? {
        guard let turns = object["turns"]?.list, !turns.isEmpty else { return nil }
        var start = DumpedRollout()
        start.id = ["custom_id", "rollout_id", "id"].lazy.compactMap { object.given($0)?.identifier }.first
        let request = start.id.flatMap(context.asked) ?? object.given("group_id")?.identifier.flatMap(context.asked)
        start.request = request?.id ?? start.id
        start.isParsed = true
        let sequences: TurnSequences
        do { sequences = try put(turns, &start) } catch {
            start.fault = error
            return [start]
        }
        return sequences.sequences.enumerated().map { number, sequence in
            var rollout = start
            if sequences.sequences.count > 1 {
                rollout.id = start.id.map { "\($0)-\(number)" }
                rollout.metadata["session"] = start.id
                rollout.remarks.insert(.historyRewritten)
            }
            rollout.take(sequence)
            // The prompt of the line is the first turn's at most; ids are known.
            rollout.takeAdded(to: object)
            guard let request else { return rollout }
            let fault = rollout.fault
            rollout.take(request, prompt: 0)
            // Later sequences begin otherwise than the request, and that is why there are several.
            if number > 0 { rollout.fault = fault }
            return rollout
        }
    }

    private static func put(
        _ turns: [JSONValue], _ rollout: inout DumpedRollout
    ) throws(RolloutFault) -> TurnSequences {
        var sequences = TurnSequences()
        for (number, turn) in turns.enumerated() {
            let found = turn.object.flatMap { object in
                [OpenAIDump.self, SGLangDump.self].lazy.compactMap { (dialect: any DumpDialect.Type) in
                    dialect.rollouts(object, in: LineContext())
                }.first
            }
            guard let found, found.count == 1, let one = found.first else {
                throw RolloutFault(
                    .invalidValue, found: "turn \(number) with \(found?.count ?? 0) answers",
                    expected: "one response of an OpenAI or SGLang server")
            }
            if let fault = one.fault { throw fault }
            guard let prompt = one.promptIDs, let answer = one.completionIDs else {
                throw RolloutFault(
                    .noTokenIDs,
                    found: "turn \(number) without its \(one.promptIDs == nil ? "prompt's" : "answer's") ids",
                    expected: "both (return_token_ids)")
            }
            try sequences.add(prompt: prompt, answer: answer, logprobs: one.logprobs)
            rollout.remarks.formUnion(one.remarks)
            (rollout.finishReason, rollout.stopReason) = (one.finishReason, one.stopReason)
            rollout.completion = one.completion
        }
        return sequences
    }
}
