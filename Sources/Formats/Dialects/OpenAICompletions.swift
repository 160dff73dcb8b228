import Foundation

/// The OpenAI batch shape with `/v1/completions`: token ids in, token ids out. vLLM and compatible servers.
package enum OpenAICompletions: EngineDialect {
    package static let name = "openai"
    package static let sendsText = false
    package static var results: any DumpDialect.Type { OpenAIDump.self }

    package static func line(_ request: EngineRequest) -> [String: Any] {
        let own: [String: Any] = [
            "prompt": request.prefix.map { Int($0) }, "logprobs": request.topLogprobs, "add_special_tokens": false,
            "echo": false,
        ]
        return [
            "custom_id": request.customID, "method": "POST", "url": "/v1/completions",
            "body": EngineFields.openAIBody(request).merging(own) { $1 },
        ]
    }

    package static func request(_ object: [String: Any]) -> EngineRequest? {
        guard let body = object["body"] as? [String: Any], let prefix = EngineFields.tokens(body["prompt"]),
            let id = object["custom_id"] as? String
        else { return nil }
        var request = EngineRequest()
        request.customID = id
        request.prefix = prefix
        request.maxTokens = (body["max_tokens"] as? NSNumber)?.intValue ?? 16
        request.seed = (body["seed"] as? NSNumber)?.int64Value ?? 0
        request.temperature = EngineFields.float(body["temperature"]) ?? 1
        request.topP = EngineFields.float(body["top_p"]) ?? 1
        request.topK = max(0, (body["top_k"] as? NSNumber)?.intValue ?? 0)
        request.topLogprobs = (body["logprobs"] as? NSNumber)?.intValue ?? 0
        request.readStops(body)
        return request
    }
}
