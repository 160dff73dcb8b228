import Foundation

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
                "max_new_tokens": request.maxTokens, "temperature": EngineFields.decimal(request.temperature),
                "top_p": EngineFields.decimal(request.topP),
                "top_k": request.topK == 0 ? -1 : request.topK, "min_p": 0, "presence_penalty": 0,
                "frequency_penalty": 0, "repetition_penalty": 1,
                "stop": request.stop, "stop_token_ids": request.stopTokenIDs.map { Int($0) }, "ignore_eos": false,
                "skip_special_tokens": true, "n": 1,
                "sampling_seed": request.seed,
            ] as [String: Any],
        ]
    }

    package static func request(_ object: [String: Any]) -> EngineRequest? {
        guard let id = object["rid"] as? String, let prefix = EngineFields.tokens(object["input_ids"]),
            let sampling = object["sampling_params"] as? [String: Any]
        else { return nil }
        var request = EngineRequest()
        request.customID = id
        request.prefix = prefix
        request.maxTokens = (sampling["max_new_tokens"] as? NSNumber)?.intValue ?? 128
        request.seed = (sampling["sampling_seed"] as? NSNumber)?.int64Value ?? 0
        request.temperature = EngineFields.float(sampling["temperature"]) ?? 1
        request.topP = EngineFields.float(sampling["top_p"]) ?? 1
        request.topK = max(0, (sampling["top_k"] as? NSNumber)?.intValue ?? 0)
        request.topLogprobs = (object["top_logprobs_num"] as? NSNumber)?.intValue ?? 0
        request.readStops(sampling)
        return request
    }
}
