import Foundation

/// How fields of requests are written and read, in all dialects of engines alike.
enum EngineFields {
    /// A float as the decimal that reads back to it: 0.7, not 0.699999988079071.
    static func decimal(_ value: Float) -> NSDecimalNumber { NSDecimalNumber(string: "\(value)") }

    /// A number of a JSON object; nil where it is none.
    static func float(_ value: Any?) -> Float? { (value as? NSNumber)?.floatValue }

    /// Token ids of a JSON list; nil where it is none.
    static func tokens(_ value: Any?) -> [Int32]? { value.flatMap(StopFields.tokenIDs) }

    /// Fields that completions and chat bodies share. Off-values are spelled out too.
    static func openAIBody(_ request: EngineRequest) -> [String: Any] {
        [
            "model": request.model, "max_tokens": request.maxTokens, "n": 1, "seed": request.seed,
            "temperature": decimal(request.temperature), "top_p": decimal(request.topP),
            "top_k": request.topK == 0 ? -1 : request.topK, "min_p": 0,
            "presence_penalty": 0, "frequency_penalty": 0, "repetition_penalty": 1,
            "stop": request.stop, "stop_token_ids": request.stopTokenIDs.map { Int($0) },
            "return_token_ids": true, "return_tokens_as_token_ids": true, "skip_special_tokens": true, "stream": false,
        ]
    }
}

extension EngineRequest {
    /// `stop`, one string or a list, and `stop_token_ids`, as all engines name them.
    mutating func readStops(_ fields: [String: Any]) {
        do {
            stop = try StopFields.texts(fields["stop"])
            stopTokenIDs = try StopFields.tokens(fields["stop_token_ids"])
        } catch { malformedField = "\(error)" }
    }
}
