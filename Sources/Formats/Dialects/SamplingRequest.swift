/// What was asked of an engine: a line of an OpenAI batch's request file, of an SGLang driver's, or of a prompt file.
/// It knows what
/// results don't repeat.
package struct SamplingRequest: Sendable {
    package struct Prompt: Sendable {
        package var ids: [Int32]?
        package var text: String?
        /// A chat's, as JSON.
        package var messages: String? { chat?.messages.encoded }
        package var chat: GivenChat?

        package init(ids: [Int32]? = nil, text: String? = nil, chat: GivenChat? = nil) {
            (self.ids, self.text, self.chat) = (ids, text, chat)
        }
    }

    /// By which a result names its request.
    package let id: String
    package let prompts: [Prompt]
    /// Asked for of each prompt.
    package var choicesPerPrompt = 1
    /// Whether the prompt is repeated in front of the answer.
    package var echo = false
    package var addsSpecialTokens = true
    /// Whether there are strings that stop an answer; nil where that isn't known.
    package var hasStopStrings: Bool?
    /// Whether something beside temperature, top-p and top-k shapes the distribution.
    package var isShaped = false
    /// Of a rollout's metadata what every answer has in common: sampling settings and the driver's own keys.
    package var metadata: [String: String] = [:]
    private var ownKeys: [String: JSONValue] = [:]

    package init(id: String, prompt: [Int32]) { (self.id, prompts) = (id, [Prompt(ids: prompt)]) }

    /// Throws what is wrong with the line, naming the key.
    package init(_ object: JSONObject) throws(RequestFault) {
        let body = object["body"]?.object, sampling = object["sampling_params"]?.object
        let ids = ["custom_id", "rid", "group_id", "request_id"].lazy.compactMap { object[$0]?.identifier }
        guard let id = ids.first, !id.isEmpty else {
            throw RequestFault(
                found: "no custom_id",
                expected: "a custom_id (rid, or a prompt's group_id), by which results name their request")
        }
        self.id = id
        prompts = try Self.prompts(body ?? object)
        readSettings(sampling ?? body ?? object)
        readOwnKeys([object, object["metadata"]?.object, body?["metadata"]?.object].compactMap { $0 })
    }

    // MARK: prompts

    private static func prompts(_ fields: JSONObject) throws(RequestFault) -> [Prompt] {
        // `token_ids` is vLLM's /inference/v1/generate.
        for key in ["prompt_token_ids", "input_ids", "token_ids"] {
            if let ids = fields.given(key) { return try prompts(ids, key, fields) }
        }
        if let messages = fields.given("messages") { return [Prompt(chat: GivenChat(messages, in: fields))] }
        guard let value = fields.given("prompt") ?? fields.given("text") else {
            throw RequestFault(found: "no prompt", expected: "prompt, prompt_token_ids or messages")
        }
        return try prompts(value, "prompt", fields)
    }

    /// Text, ids, or a list of these; a chat's messages too, which some data sets call prompt.
    private static func prompts(
        _ value: JSONValue, _ key: String, _ fields: JSONObject
    ) throws(RequestFault) -> [Prompt] {
        if let text = value.string { return [Prompt(text: text)] }
        let list = value.list ?? []
        guard let first = list.first else {
            throw RequestFault(found: "\(key) \(value.excerpt)", expected: "text or token ids, at least one")
        }
        switch first {
        case .string, .broken: return try each(list, key, "text") { $0.string.map { Prompt(text: $0) } }
        case .list:
            return try each(list, key, "a list of token ids") { (try? tokenIDs($0, key)).map { Prompt(ids: $0) } }
        case .object: return [Prompt(chat: GivenChat(value, in: fields))]
        default:
            do { return [Prompt(ids: try tokenIDs(value, key))] } catch {
                throw RequestFault(found: error.found, expected: error.expected)
            }
        }
    }

    private static func each(
        _ list: [JSONValue], _ key: String, _ expected: String, _ prompt: (JSONValue) -> Prompt?
    ) throws(RequestFault) -> [Prompt] {
        var prompts: [Prompt] = []
        for (number, value) in list.enumerated() {
            guard let prompt = prompt(value) else {
                throw RequestFault(found: "\(value.excerpt) as number \(number) of \(key)", expected: expected)
            }
            prompts.append(prompt)
        }
        return prompts
    }

    // MARK: settings

    /// Names of a setting, first the one that a rollout's metadata has.
    private static let settings = [
        ["temperature"], ["top_p"], ["top_k"], ["max_tokens", "max_completion_tokens", "max_new_tokens"],
    ]

    private mutating func readSettings(_ fields: JSONObject) {
        for names in Self.settings {
            metadata[names[0]] = names.lazy.compactMap { fields.given($0)?.text }.first
        }
        choicesPerPrompt = max(1, fields["n"]?.int ?? 1)
        echo = fields["echo"]?.bool ?? false
        addsSpecialTokens = fields["add_special_tokens"]?.bool ?? true
        let stop = fields.given("stop").flatMap { $0.string == nil ? $0 : .list([$0]) }
        hasStopStrings = stop?.list?.isEmpty == false
        if hasStopStrings == true { metadata["stop"] = stop?.encoded }
        if let ids = fields.given("stop_token_ids"), ids.list?.isEmpty == false {
            metadata["stop_token_ids"] = ids.encoded
        }
        isShaped = Self.isShaped(fields)
    }

    private static let neutral: [String: Double] = [
        "min_p": 0, "presence_penalty": 0, "frequency_penalty": 0, "repetition_penalty": 1, "typical_p": 1,
    ]
    private static let shaping = [
        "logit_bias", "allowed_token_ids", "bad_words", "guided_json", "guided_regex", "guided_choice",
        "guided_grammar", "structured_outputs",
        "response_format", "json_schema", "regex", "ebnf",
    ]

    private static func isShaped(_ fields: JSONObject) -> Bool {
        if neutral.contains(where: { key, value in fields[key]?.double.map { $0 != value } ?? false }) { return true }
        return shaping.contains { key in
            guard let value = fields.given(key) else { return false }
            // {"type": "text"} asks for nothing.
            return value.object?["type"]?.string != "text" && value.list?.isEmpty != true
                && value.object?.members.isEmpty != true
        }
    }

    // MARK: own keys

    /// Aliases that data sets have for it, the first one's own name first.
    private static let answers = ["reference_answer", "answer", "solution", "ground_truth", "label"]

    /// Those of earlier objects win.
    private mutating func readOwnKeys(_ objects: [JSONObject]) {
        for key in ["group_id", "data_source", "policy_version", "sample_index"] {
            ownKeys[key] = objects.lazy.compactMap { $0.given(key) }.first
        }
        let answer = Self.answers.lazy.compactMap { key in objects.lazy.compactMap { $0.given(key) }.first }.first
        ownKeys["reference_answer"] = answer
    }

    /// A driver's own key for one of the prompts. A list of as many values as there are prompts has one for each.
    package func own(_ key: String, prompt number: Int) -> String? {
        guard let value = ownKeys[key] else { return nil }
        if prompts.count > 1, let list = value.list, list.count == prompts.count { return list[number].identifier }
        return value.identifier
    }
}

/// What is wrong with a line of a request file.
package struct RequestFault: Error, Equatable, Sendable {
    package let found: String
    package let expected: String
}

/// Finds the request that a result names.
package typealias RequestLookup = @Sendable (_ id: String) -> SamplingRequest?
