import Foundation

/// A continuation asked of an engine, with every sampling field spelled out: engines otherwise take defaults of their
/// own (or of the model's generation_config.json).
package struct EngineRequest: Equatable, Sendable {
    package var customID = ""
    /// Token ids of the prefix.
    package var prefix: [Int32] = []
    package var maxTokens = 0
    package var seed: Int64 = 0
    package var temperature: Float = 1
    package var topP: Float = 1
    /// 0 is off.
    package var topK = 0
    package var stopTokenIDs: [Int32] = []
    /// Strings that end the text; what was sampled of them stays among the token ids.
    package var stop: [String] = []
    /// A field that is not what it should be, in words; such a request must not be run as if the field weren't there.
    package var malformedField: String?
    /// How many of the best log-probabilities to give for every token, beside the sampled one's.
    package var topLogprobs = 0
    /// The name under which a server knows the policy.
    package var model = "policy"
    /// For chat endpoints: the prompt, and the text of the response so far.
    package var prompt = ""
    package var responsePrefix = ""

    package init() {}
}

/// A way of writing requests as JSON lines, and the dialect in which their results come back. A newcomer: one type, one
/// line in the registry.
package protocol EngineDialect: Sendable {
    static var name: String { get }
    /// Whether a prefix travels as text, so that it must be whole UTF-8 and may come back tokenised differently.
    static var sendsText: Bool { get }
    static func line(_ request: EngineRequest) -> [String: Any]
    /// nil where the object is no request of this dialect.
    static func request(_ object: [String: Any]) -> EngineRequest?
    /// How results are written.
    static var results: any DumpDialect.Type { get }
}

package enum EngineDialects {
    package static let all: [any EngineDialect.Type] = [ChatPrefill.self, OpenAICompletions.self, SGLangGenerate.self]
    package static var names: [String] { all.map { $0.name } }
    package static func named(_ name: String) -> (any EngineDialect.Type)? { all.first { $0.name == name } }

    /// One JSON line of a request.
    package static func encode(_ request: EngineRequest, as dialect: any EngineDialect.Type) throws -> String {
        let data = try JSONSerialization.data(
            withJSONObject: dialect.line(request), options: [.sortedKeys, .withoutEscapingSlashes])
        return String(decoding: data, as: UTF8.self) + "\n"
    }

    /// nil where the line is not a JSON object of any dialect.
    package static func decodeRequest(_ line: Data) -> EngineRequest? {
        object(line).flatMap { object in all.lazy.compactMap { $0.request(object) }.first }
    }
    /// Dialects that results may be in.
    package static let results: [any DumpDialect.Type] = [OpenAIDump.self, SGLangDump.self]

    private static func object(_ line: Data) -> [String: Any]? {
        (try? JSONSerialization.jsonObject(with: line)) as? [String: Any]
    }
}

/// A float as the decimal that reads back to it: 0.7, not 0.699999988079071.
private func decimal(_ value: Float) -> NSDecimalNumber { NSDecimalNumber(string: "\(value)") }

/// Token ids of a JSON list; nil where it is none.
func tokens(_ value: Any?) -> [Int32]? { value.flatMap(StopFields.tokenIDs) }

extension EngineRequest {
    /// `stop`, one string or a list, and `stop_token_ids`, as all engines name them.
    fileprivate mutating func readStops(_ fields: [String: Any]) {
        do {
            stop = try StopFields.texts(fields["stop"])
            stopTokenIDs = try StopFields.tokens(fields["stop_token_ids"])
        } catch { malformedField = "\(error)" }
    }
}

func float(_ value: Any?) -> Float? { (value as? NSNumber)?.floatValue }

/// Fields that completions and chat bodies share. Off-values are spelled out too.
private func openAIBody(_ request: EngineRequest) -> [String: Any] {
    [
        "model": request.model, "max_tokens": request.maxTokens, "n": 1, "seed": request.seed,
        "temperature": decimal(request.temperature),
        "top_p": decimal(request.topP), "top_k": request.topK == 0 ? -1 : request.topK, "min_p": 0,
        "presence_penalty": 0, "frequency_penalty": 0,
        "repetition_penalty": 1, "stop": request.stop, "stop_token_ids": request.stopTokenIDs.map { Int($0) },
        "return_token_ids": true, "return_tokens_as_token_ids": true, "skip_special_tokens": true, "stream": false,
    ]
}

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
            "body": openAIBody(request).merging(own) { $1 },
        ]
    }

    package static func request(_ object: [String: Any]) -> EngineRequest? {
        guard let body = object["body"] as? [String: Any], let prefix = tokens(body["prompt"]),
            let id = object["custom_id"] as? String
        else { return nil }
        var request = EngineRequest()
        request.customID = id
        request.prefix = prefix
        request.maxTokens = (body["max_tokens"] as? NSNumber)?.intValue ?? 16
        request.seed = (body["seed"] as? NSNumber)?.int64Value ?? 0
        request.temperature = float(body["temperature"]) ?? 1
        request.topP = float(body["top_p"]) ?? 1
        request.topK = max(0, (body["top_k"] as? NSNumber)?.intValue ?? 0)
        request.topLogprobs = (body["logprobs"] as? NSNumber)?.intValue ?? 0
        request.readStops(body)
        return request
    }
}

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
            "body": openAIBody(request).merging(own) { $1 },
        ]
    }

    package static func request(_ object: [String: Any]) -> EngineRequest? { nil }
}

/// SGLang's native `/generate`, one object per line; `rid` comes back as `meta_info.id`.
package enum SGLangGenerate: EngineDialect {
    package static let name = "sglang"
    package static let sendsText = false
    package static var results: any DumpDialect.Type { SGLangDump.self }

    package static func line(_ request: EngineRequest) -> [String: Any] {
        [
            "rid": request.customID, "input_ids": request.prefix.map { Int($0) }, "return_logprob": true,
            "logprob_start_len": -1,
            "top_logprobs_num": request.topLogprobs,
            "stream": false,
            "sampling_params": [
                "max_new_tokens": request.maxTokens, "temperature": decimal(request.temperature),
                "top_p": decimal(request.topP),
                "top_k": request.topK == 0 ? -1 : request.topK, "min_p": 0, "presence_penalty": 0,
                "frequency_penalty": 0, "repetition_penalty": 1,
                "stop": request.stop, "stop_token_ids": request.stopTokenIDs.map { Int($0) }, "ignore_eos": false,
                "skip_special_tokens": true, "n": 1,
                "sampling_seed": request.seed,
            ] as [String: Any],
        ]
    }

    package static func request(_ object: [String: Any]) -> EngineRequest? {
        guard let id = object["rid"] as? String, let prefix = tokens(object["input_ids"]),
            let sampling = object["sampling_params"] as? [String: Any]
        else { return nil }
        var request = EngineRequest()
        request.customID = id
        request.prefix = prefix
        request.maxTokens = (sampling["max_new_tokens"] as? NSNumber)?.intValue ?? 128
        request.seed = (sampling["sampling_seed"] as? NSNumber)?.int64Value ?? 0
        request.temperature = float(sampling["temperature"]) ?? 1
        request.topP = float(sampling["top_p"]) ?? 1
        request.topK = max(0, (sampling["top_k"] as? NSNumber)?.intValue ?? 0)
        request.topLogprobs = (object["top_logprobs_num"] as? NSNumber)?.intValue ?? 0
        request.readStops(sampling)
        return request
    }
}
