/// Output lines of an OpenAI batch, as `vllm run-batch`, examples/run_jobs.py and others write them: completions and
/// chat, `n` choices or one, one prompt or several; bare responses, too.
package enum OpenAIDump: DumpDialect {
    package static let name = "openai"
    package static let source = "OpenAI batch output; vLLM with return_token_ids"

    package static func rollouts(_ object: JSONObject, in context: LineContext) -> [DumpedRollout]? {
        // A `body` of its own is a request's, `meta_info` SGLang's.
        guard object["body"] == nil, object["meta_info"] == nil, object["turns"] == nil,
            !OpenAIResponsesDump.isResponse(object["response"]?.object?["body"]?.object ?? object),
            object.given("custom_id") != nil || object["choices"]?.list != nil
        else {
            return nil
        }
        return OpenAIResponse(object, asked: context.asked).rollouts()
    }
}

/// One line: a response with its choices, and what its request is known to have asked.
private struct OpenAIResponse {
    private let line: JSONObject
    private let body: JSONObject
    private let usage: JSONObject?
    private let id: String?
    private let request: SamplingRequest?

    init(_ object: JSONObject, asked: RequestLookup) {
        line = object
        body = object["response"]?.object?["body"]?.object ?? object
        usage = body["usage"]?.object
        let own = object.given("custom_id")?.identifier.flatMap { $0.isEmpty ? nil : $0 }
        id = own ?? ["id", "request_id"].lazy.compactMap { [body] in body[$0]?.identifier }.first
        // vLLM's /inference/v1/generate names its request alone.
        request =
            own.flatMap(asked) ?? object.given("group_id")?.identifier.flatMap(asked)
            ?? body.given("request_id")?.identifier.flatMap(asked)
    }

    func rollouts() -> [DumpedRollout] {
        let listed = body["choices"]?.list ?? []
        guard let words = failure ?? (listed.isEmpty ? "no choices in the response" : nil) else {
            return answers(OpenAIChoice.numbered(listed.map { OpenAIChoice($0.object ?? JSONObject(), body) }))
        }
        var failed = start()
        failed.id = id
        failed.fault = .engineError(words)
        return [failed]
    }

    private func start() -> DumpedRollout {
        var rollout = DumpedRollout()
        rollout.request = request?.id ?? id
        return rollout
    }

    private var failure: String? {
        if let error = line.given("error"), !Self.isNothing(error) { return Self.words(error) }
        if let status = line["response"]?.object?["status_code"]?.int, status >= 400 { return "status \(status)" }
        return body.given("error").flatMap { Self.isNothing($0) ? nil : Self.words($0) }
    }

    /// What drivers write for "no error", beside null.
    private static func isNothing(_ error: JSONValue) -> Bool {
        error.bool == false || error.string?.isEmpty == true || error.object?.members.isEmpty == true
    }

    private static func words(_ error: JSONValue) -> String {
        error.object?["message"]?.string ?? error.text ?? "an error"
    }

    // MARK: choices

    private func answers(_ given: [OpenAIChoice]) -> [DumpedRollout] {
        var choices = given
        let numbers = promptNumbers(choices), promptCount = max(request?.prompts.count ?? 1, (numbers.max() ?? 0) + 1)
        for place in choices.indices where choices[place].promptIDs == nil {
            guard let prompts = request?.prompts, prompts.indices.contains(numbers[place]) else { continue }
            choices[place].promptIDs = prompts[numbers[place]].ids
        }
        EchoedPrompts(
            total: usage?["completion_tokens"]?.int,
            promptTokens: choices.count == 1 ? usage?["prompt_tokens"]?.int : nil,
            isAsked: line["echo"]?.bool ?? request?.echo
        ).resolve(&choices)
        var seen = [Int](repeating: 0, count: promptCount)
        return choices.enumerated().map { place, choice in
            defer { seen[numbers[place]] += 1 }
            return rollout(
                choice, of: choices.count, prompt: numbers[place], of: promptCount, sample: seen[numbers[place]])
        }
    }

    /// Which of the line's prompts each choice answers: by its index where the request is known, else by the prompt's
    /// ids.
    private func promptNumbers(_ choices: [OpenAIChoice]) -> [Int] {
        if let request, request.prompts.count > 1 {
            return choices.map { min($0.index / request.choicesPerPrompt, request.prompts.count - 1) }
        }
        var known: [[Int32]] = []
        return choices.map { choice in
            guard let ids = choice.promptIDs else { return 0 }
            if let place = known.firstIndex(of: ids) { return place }
            known.append(ids)
            return known.count - 1
        }
    }

    private func rollout(_ choice: OpenAIChoice, of choices: Int, prompt number: Int, of prompts: Int, sample: Int)
        -> DumpedRollout
    {
        var rollout = start()
        rollout.id = id.map { $0 + (choices > 1 ? "-\(choice.index)" : "") }
        rollout.sampleIndex = sample
        rollout.promptIDs = choice.promptIDs
        (rollout.completionIDs, rollout.completion) = (choice.tokenIDs, choice.text)
        (rollout.isParsed, rollout.logprobs, rollout.best) = (choice.isParsed, choice.logprobs, choice.best)
        (rollout.finishReason, rollout.stopReason) = (choice.finishReason, choice.stopReason)
        (rollout.fault, rollout.remarks) = (choice.fault, choice.remarks)
        if choices == 1 {
            (rollout.tokenCount, rollout.promptTokenCount) = (
                usage?["completion_tokens"]?.int, usage?["prompt_tokens"]?.int
            )
        } else {
            rollout.lineTokenCount = usage?["completion_tokens"]?.int
        }
        if rollout.completionIDs == nil, rollout.tokenCount == nil { rollout.tokenCount = choice.logprobs?.count }
        rollout.group = choices > 1 || prompts > 1 ? id : nil
        rollout.takeSupports(choice.samplingMask, "sampling_mask")
        rollout.experts = choice.experts
        rollout.takeAdded(to: line, choice: choice.index, of: choices)
        if let request { rollout.take(request, prompt: number) }
        // Of a chat it is one prompt's, however many choices there are.
        if rollout.chat != nil, rollout.promptIDs == nil { rollout.promptTokenCount = usage?["prompt_tokens"]?.int }
        takeLists(&rollout, prompt: number, of: prompts)
        if choice.isEchoed { rollout.cutPrompt(choice) }
        return rollout
    }

    /// Where a line answers several prompts, each is a group of its own; what a driver lists for them is told apart.
    private func takeLists(_ rollout: inout DumpedRollout, prompt number: Int, of prompts: Int) {
        guard prompts > 1 else { return }
        for key in ["reference_answer", "data_source"] {
            if let list = line[key]?.list, list.count == prompts { rollout.metadata[key] = list[number].text }
        }
        if let list = line["prompt"]?.list, list.count == prompts {
            rollout.prompt = list[number].string ?? rollout.prompt
        }
        if let list = line["group_id"]?.list, list.count == prompts { return rollout.group = list[number].identifier }
        // The request's own list has one for each; one name for all is no group's.
        if let own = request?.own("group_id", prompt: number),
            own != request?.own("group_id", prompt: number == 0 ? 1 : 0)
        {
            return rollout.group = own
        }
        rollout.group = rollout.group.map { "\($0)/\(number)" }
    }
}

extension DumpedRollout {
    /// Takes the prompt off the text, by its own text or by that of its tokens. vLLM leaves it out where it returns
    /// token ids.
    fileprivate mutating func cutPrompt(_ choice: OpenAIChoice) {
        guard let text = completion else { return }
        let known = [prompt, choice.promptTokensText].compactMap { $0 }.first { text.utf8.starts(with: $0.utf8) }
        if let known {
            completion = String(decoding: text.utf8.dropFirst(known.utf8.count), as: UTF8.self)
        } else if !choice.returnsIDsOfAnswerAlone {
            holdsPrompt = true
        }
    }
}

/// One of a response's choices, of a completion or a chat.
struct OpenAIChoice {
    var index = 0
    var promptIDs: [Int32]?
    var tokenIDs: [Int32]?
    var logprobs: GivenLogprobs?
    var best: TopLogprobs?
    /// vLLM's, of the sampled tokens alone.
    private(set) var samplingMask: JSONValue?
    private(set) var experts: GivenExperts?
    var text = ""
    /// Whether a parser took something off the text.
    var isParsed = false
    /// Whether the prompt stands in front of the answer.
    var isEchoed = false
    /// Whether the engine returned ids, and the prompt was not in front of them.
    private(set) var returnsIDsOfAnswerAlone = false
    /// The prompt's text, where tokens stand as text and the prompt's are among them.
    private(set) var promptTokensText: String?
    var finishReason = ""
    var stopReason = StopReason.unknown
    var remarks: Set<RolloutRemark> = []
    var fault: RolloutFault?
    private var texts: [JSONValue]?

    init(_ choice: JSONObject, _ body: JSONObject) {
        index = choice["index"]?.int ?? -1
        samplingMask = choice.given("sampling_mask")
        readText(choice)
        readEnd(choice)
        do throws(RolloutFault) {
            promptIDs = try Formats.tokenIDs(
                choice.given("prompt_token_ids") ?? body["prompt_token_ids"], "prompt_token_ids")
            tokenIDs = try Formats.tokenIDs(choice["token_ids"], "token_ids")
            returnsIDsOfAnswerAlone = tokenIDs != nil
            // SGLang's OpenAI endpoints have it apart.
            if let own = choice["sglext"]?.object { experts = try GivenExperts.ofSGLang(own) }
            if experts == nil { experts = try GivenExperts.ofVLLM(choice, body) }
        } catch { fault = error }
        readLogprobs(choice["logprobs"]?.object)
        if choice.given("prompt_logprobs") != nil || body.given("prompt_logprobs") != nil {
            remarks.insert(.promptLogprobsLeftOut)
        }
    }

    /// In the order of their indices; of their places where these are no numbering.
    static func numbered(_ choices: [OpenAIChoice]) -> [OpenAIChoice] {
        if Set(choices.map(\.index)).count == choices.count, choices.allSatisfy({ $0.index >= 0 }) {
            return choices.sorted { $0.index < $1.index }
        }
        return choices.enumerated().map { place, choice in
            var choice = choice
            choice.index = place
            return choice
        }
    }

    // MARK: text

    private mutating func readText(_ choice: JSONObject) {
        guard choice["text"]?.string == nil, let message = choice["message"]?.object else {
            return text = choice["text"]?.string ?? ""
        }
        let reasoning = message["reasoning_content"]?.string ?? message["reasoning"]?.string ?? ""
        text = reasoning + Self.content(message["content"]) + (message["refusal"]?.string ?? "")
        isParsed =
            !reasoning.isEmpty || message["tool_calls"]?.list?.isEmpty == false || message.given("function_call") != nil
    }

    /// Text, or a list of parts.
    private static func content(_ value: JSONValue?) -> String {
        value?.string ?? value?.list?.compactMap { $0.object?["text"]?.string }.joined() ?? ""
    }

    private mutating func readEnd(_ choice: JSONObject) {
        finishReason = choice["finish_reason"]?.text ?? ""
        if FinishReason(finishReason) == .unknown { remarks.insert(.finishReasonUnknown) }
        guard let given = choice["stop_reason"], FinishReason(finishReason) == .finished else { return }
        if given.isNull {
            stopReason = .endOfSequence
        } else if let text = given.string {
            stopReason = .text(text)
        } else if let id = tokenID(given) {
            stopReason = .token(id)
        }
    }

    // MARK: log-probabilities

    /// Ids where they were returned, else from tokens written as `token_id:123`. Completions and chat nest them
    /// differently.
    private mutating func readLogprobs(_ given: JSONObject?) {
        guard let given else { return }
        let entries = given["content"]?.list?.map { $0.object ?? JSONObject() }
        let texts = given["tokens"]?.list ?? entries?.map { $0["token"] ?? .null }
        let values = given["token_logprobs"]?.list ?? entries?.map { $0["logprob"] ?? .null }
        let spelled = texts?.compactMap { $0.string.flatMap(Self.spelledID) }
        if let spelled, spelled.count == texts?.count {
            if tokenIDs == nil, fault == nil { tokenIDs = spelled }
        } else {
            self.texts = texts
        }
        logprobs = values.map { GivenLogprobs($0) }
        readBest(given, entries)
    }

    /// Completions have a map from token to log-probability for each token, chat has lists.
    private mutating func readBest(_ given: JSONObject, _ entries: [JSONObject]?) {
        let maps = given["top_logprobs"]?.list?.map { row in
            (row.object?.members ?? []).map { (token: Self.spelledID($0.key), logprob: Optional($0.value)) }
        }
        let lists = entries?.map { entry in
            (entry["top_logprobs"]?.list ?? []).map { best in
                (token: best.object?["token"]?.string.flatMap(Self.spelledID), logprob: best.object?["logprob"])
            }
        }
        best = TopLogprobs(maps ?? lists, remarks: &remarks)
    }

    /// The id in a token written as `token_id:123`.
    private static func spelledID(_ token: String) -> Int32? {
        guard token.utf8.starts(with: "token_id:".utf8) else { return nil }
        return Int32(token.dropFirst(9)).flatMap { $0 < 0 ? nil : $0 }
    }

    // MARK: echo

    /// Cuts the first so many tokens off what has them in front.
    fileprivate mutating func cut(_ count: Int, ids: Bool, logprobs hasLogprobs: Bool) {
        if ids, let all = tokenIDs {
            promptIDs = promptIDs ?? Array(all.prefix(count))
            tokenIDs = Array(all.dropFirst(count))
            returnsIDsOfAnswerAlone = false
        }
        if hasLogprobs {
            logprobs = logprobs?.dropping(count)
            best = best?.dropping(count)
        }
        guard ids || hasLogprobs else { return }
        isEchoed = true
        promptTokensText = texts?.prefix(count).map { $0.string ?? "" }.joined()
    }
}

/// `echo`: an engine puts the prompt in front of the answer, in its text, its log-probabilities, and some in its token
/// ids. Nothing in a
/// response says so; the engine's own count of sampled tokens does.
struct EchoedPrompts {
    /// Sampled tokens of all choices together.
    let total: Int?
    /// The prompt's tokens, where the line has one choice.
    let promptTokens: Int?
    /// Whether the request asked for it, where it is known.
    let isAsked: Bool?

    func resolve(_ choices: inout [OpenAIChoice]) {
        let prompts = choices.map { $0.promptIDs?.count ?? promptTokens }
        let cutsIDs = cutsTokenIDs(&choices, prompts)
        for place in choices.indices {
            guard let prompt = prompts[place] else { continue }
            choices[place].cut(
                prompt, ids: cutsIDs,
                logprobs: cutsLogprobs(choices[place], prompt, cutsIDs: cutsIDs, alone: choices.count == 1))
            if isAsked == true { choices[place].isEchoed = true }
        }
    }

    /// Whether all choices' ids begin with the prompt. Where their number is not the engine's in either case, they are
    /// none to trust.
    private func cutsTokenIDs(_ choices: inout [OpenAIChoice], _ prompts: [Int?]) -> Bool {
        let ids = choices.compactMap(\.tokenIDs)
        guard ids.count == choices.count else { return false }
        let begins = zip(choices, prompts).allSatisfy { choice, prompt in
            guard let prompt, let ids = choice.tokenIDs, ids.count >= prompt else { return false }
            return choice.promptIDs.map { ids.starts(with: $0) } ?? (isAsked == true || choice.beginsWithPrompt)
        }
        let count = ids.reduce(0) { $0 + $1.count }, prompt = prompts.reduce(0) { $0 + ($1 ?? 0) }
        guard let total, total != count else {
            return total == nil && begins && (isAsked ?? choices.allSatisfy(\.beginsWithPrompt))
        }
        if begins, count == total + prompt { return true }
        for place in choices.indices where choices[place].fault == nil {
            choices[place].fault = RolloutFault(
                .tokenCountMismatch,
                found: "\(count) token ids" + (choices.count > 1 ? " in \(choices.count) choices" : ""),
                expected: "\(total), as many as the engine counts (usage.completion_tokens)")
        }
        return false
    }

    private func cutsLogprobs(_ choice: OpenAIChoice, _ prompt: Int, cutsIDs: Bool, alone: Bool) -> Bool {
        guard let count = choice.logprobs?.count, count >= prompt, prompt > 0 else { return false }
        // `tokenIDs` are still those that were given.
        if let ids = choice.tokenIDs { return count == (cutsIDs ? ids.count : ids.count + prompt) }
        if alone, let total { return count == total + prompt }
        return isAsked == true || choice.beginsWithPrompt
    }
}

extension OpenAIChoice {
    /// The first token of all has no log-probability: nothing was there to predict it.
    fileprivate var beginsWithPrompt: Bool { logprobs?.values.first?.isNaN ?? false }
}
