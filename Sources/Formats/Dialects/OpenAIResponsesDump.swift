/// Lines of OpenAI's Responses API, bare or in a batch's envelope: one turn of text. A response with several messages
/// or calls of tools is more than one turn, and what the model read between them isn't there.
package enum OpenAIResponsesDump: DumpDialect {
    package static let name = "openai_responses"
    package static let source = "OpenAI /v1/responses; vLLM"

    package static func rollouts(_ object: JSONObject, in context: LineContext) -> [DumpedRollout]? {
        let body = object["response"]?.object?["body"]?.object ?? object
        guard isResponse(body), let output = body["output"]?.list else { return nil }
        let own = object.given("custom_id")?.identifier
        let request = own.flatMap(context.asked) ?? object.given("group_id")?.identifier.flatMap(context.asked)
        var rollout = DumpedRollout()
        rollout.id = own ?? body["id"]?.identifier
        rollout.request = request?.id ?? rollout.id
        do { try take(output.compactMap(\.object), &rollout) } catch { rollout.fault = error }
        takeEnd(body, &rollout)
        let usage = body["usage"]?.object
        rollout.tokenCount = usage?["output_tokens"]?.int
        rollout.promptTokenCount = usage?["input_tokens"]?.int
        for key in ["temperature", "top_p"] { rollout.metadata[key] = body.given(key)?.text }
        rollout.takeAdded(to: object)
        if let request { rollout.take(request, prompt: 0) }
        return [rollout]
    }

    /// Whether a body is one; a completion has choices.
    static func isResponse(_ body: JSONObject) -> Bool {
        body["choices"] == nil && body["output"]?.list != nil
            && (body["object"]?.string == "response" || body["status"]?.string != nil)
    }

    private static func take(
        _ items: [JSONObject], _ rollout: inout DumpedRollout
    ) throws(RolloutFault) {
        let messages = items.filter { $0["type"]?.string == "message" }, calls = items.filter(isCall)
        guard messages.count <= 1, calls.isEmpty || messages.isEmpty && calls.count == 1 else {
            throw RolloutFault(
                .invalidValue, found: "\(messages.count) messages and \(calls.count) calls of tools in one response",
                expected: "one turn; dump several as turns, each with its token ids")
        }
        let parts = messages.first?["content"]?.list?.compactMap(\.object) ?? []
        rollout.completion = parts.compactMap { $0["text"]?.string ?? $0["refusal"]?.string }.joined()
        rollout.isParsed = items.count > messages.count
        let entries = parts.flatMap { $0["logprobs"]?.list ?? [] }.map { $0.object?["logprob"] ?? .null }
        if !entries.isEmpty { rollout.logprobs = GivenLogprobs(entries) }
    }

    private static func isCall(_ item: JSONObject) -> Bool { item["type"]?.string?.hasSuffix("_call") ?? false }

    /// `status`, and why it is incomplete.
    private static func takeEnd(_ body: JSONObject, _ rollout: inout DumpedRollout) {
        let why = body["incomplete_details"]?.object?.given("reason")?.text
        rollout.finishReason = why ?? body["status"]?.text ?? ""
        if let error = body.given("error") {
            rollout.fault = rollout.fault ?? .engineError(error.object?["message"]?.string ?? error.excerpt)
        }
        switch FinishReason(rollout.finishReason) {
        case .failed: rollout.fault = rollout.fault ?? .engineError(rollout.finishReason)
        case .unknown, .excluded: rollout.remarks.insert(.finishReasonUnknown)
        case .finished, .truncated: break
        }
    }
}
