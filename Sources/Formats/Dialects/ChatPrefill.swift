/// `/v1/chat/completions` with the response so far as an assistant message to be continued: what `vllm run-batch`
/// takes. The prefix travels as text, so the join checks the token ids that came of it. Results have the completions'
/// shape.
package enum ChatPrefill: EngineDialect {
    package static let name = "chat"
    package static let sendsText = true
    package static var results: any DumpDialect.Type { OpenAIDump.self }

    package static func line(_ request: EngineRequest) -> [String: Any] {
        var messages: [[String: Any]] = [["role": "user", "content": request.prompt]]
        if !request.responsePrefix.isEmpty {
            messages.append(["role": "assistant", "content": request.responsePrefix])
        }
        let continues = !request.responsePrefix.isEmpty
        let own: [String: Any] = [
            "messages": messages, "add_generation_prompt": !continues, "continue_final_message": continues,
            "logprobs": true,
            "top_logprobs": request.topLogprobs,
        ]
        return [
            "custom_id": request.customID, "method": "POST", "url": "/v1/chat/completions",
            "body": EngineFields.openAIBody(request).merging(own) { $1 },
        ]
    }

    package static func request(_ object: [String: Any]) -> EngineRequest? { nil }
}
