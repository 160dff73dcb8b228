import Files

/// A row of a log that is written again while it stands there: trainers log the last so many rows after every step,
/// also where a step had no new ones. Equal rows of one step are different rollouts, those of a later step the same.
package struct QueuedRow: Equatable, Sendable {
    /// The step that wrote it.
    package let step: String
    /// Of what the row says.
    package let digest: String

    package init(step: String, _ parts: [String]) {
        self.step = step
        // Lengths in front: no two rows are one text.
        digest = String(
            SHA256Digest.of(parts.map { "\($0.utf8.count):\($0)" }.joined()).prefix(16))
    }
}

/// A rollout as a line of another program's dump tells it; what the line does not say is nil or empty.
package struct DumpedRollout: Sendable {
    /// What the program calls the rollout, the request that asked for it, and the prompt that it answers.
    package var id: String?
    package var request: String?
    package var group: String?
    /// Where nothing names its group: within what rollouts of the same prompt are one, such as a step's file.
    package var groupScope = ""
    package var sampleIndex = 0
    package var promptIDs: [Int32]?
    package var prompt: String?
    /// The prompt as a chat, where it is known by that alone.
    package var chat: GivenChat?
    /// The whole rollout as a chat, prompt and answers.
    package var conversation: GivenChat?
    /// Whether special tokens belong around a prompt that is known by its text alone.
    package var addsSpecialTokens = true
    /// Everything behind the prompt: later turns of an environment, too.
    package var completionIDs: [Int32]?
    package var completion: String?
    /// Whether `completion` is only what a parser left of the text: of a reasoning model's, of a call of a tool.
    package var isParsed = false
    /// Whether `completion` begins with the prompt, and nobody knows where it ends.
    package var holdsPrompt = false
    /// Which tokens of the completion were sampled and are trainable; nil: all.
    package var completionMask: [Bool]?
    /// One for each token of the completion.
    package var logprobs: GivenLogprobs?
    /// Under the trainer's policy before its step, and what the trainer made of the rewards; one for each token.
    package var oldLogprobs: GivenLogprobs?
    package var advantages: GivenLogprobs?
    /// The same where all tokens have one, and nobody knows yet how many there are.
    package var advantage: Float?
    package var best: TopLogprobs?
    /// Which tokens could have been drawn in the place of each of the completion's; an empty list is all.
    package var supports: [[Int32]]?
    /// To which experts its tokens were routed.
    package var experts: GivenExperts?
    /// Sampled tokens by the program's own count, and where the line has several rollouts, of all of them together.
    package var tokenCount: Int?
    package var lineTokenCount: Int?
    /// The prompt's tokens by the program's own count.
    package var promptTokenCount: Int?
    package var finishReason = ""
    package var stopReason = StopReason.unknown
    /// Whether it is known that no string could stop it.
    package var hasNoStopStrings = false
    package var reward: Float?
    /// Columns of a trainer's log that may be rewards; which are, and what they weigh, only the user knows.
    package var numbers: [String: Double] = [:]
    /// Whether a tool's words may be among the completion's tokens, without a mask that says which.
    package var hidesToolTokens = false
    /// Of a row in a log that repeats its rows: by what it is known again.
    package var queued: QueuedRow?
    /// Of the shard's metadata whatever else is known, and keys that it doesn't know, to be kept.
    package var metadata: [String: String] = [:]
    /// Why it can't be used, as far as the line shows.
    package var fault: RolloutFault?
    package var remarks: Set<RolloutRemark> = []

    package init() {}

    /// Takes a reading's fault for the rollout's, unless it has one.
    mutating func reading<T>(_ read: () throws(RolloutFault) -> T?) -> T? {
        do { return try read() } catch {
            fault = fault ?? error
            return nil
        }
    }

    /// Remarks upon the line that it comes from.
    mutating func remark(brokenTexts: Int, tooDeep: Int) {
        if brokenTexts > 0 { remarks.insert(.brokenText) }
        if tooDeep > 0 { remarks.insert(.nestingCut) }
    }

    /// Takes an engine's sampling mask, lists of the ids that could be drawn; null in a list's place is all of them.
    mutating func takeSupports(_ value: JSONValue?, _ name: String) {
        guard let value, !value.isNull else { return }
        supports = reading { () throws(RolloutFault) in
            if let csr = value.object { return try Self.supports(csr, name) }
            guard let lists = value.list else {
                throw RolloutFault(.invalidTokenID, found: "\(name) \(value.excerpt)", expected: "lists of token ids")
            }
            var supports: [[Int32]] = []
            for list in lists { supports.append(try tokenIDs(list, name) ?? []) }
            return supports
        }
    }

    /// vLLM's `/inference/v1/generate`: all ids in one list, and where each token's begin, and behind the last.
    private static func supports(_ object: JSONObject, _ name: String) throws(RolloutFault) -> [[Int32]]? {
        guard let ids = try tokenIDs(object["token_ids"], name + ".token_ids"),
            let offsets = try tokenIDs(object["offsets"], name + ".offsets")?.map({ Int($0) })
        else { return nil }
        guard offsets.first == 0, offsets.last == ids.count, zip(offsets, offsets.dropFirst()).allSatisfy(<=) else {
            throw RolloutFault(
                .invalidValue, found: "\(name).offsets that fall or don't end at \(ids.count)",
                expected: "ascending ones from 0")
        }
        return zip(offsets, offsets.dropFirst()).map { Array(ids[$0..<$1]) }
    }

    /// Takes what a driver added to an engine's response, under the names of a shard's metadata. `choice`: which of the
    /// line's it is, of how many; a list of as many rewards has one for each.
    mutating func takeAdded(to object: JSONObject, choice: Int = 0, of choices: Int = 1) {
        for key in [
            "reference_answer", "data_source", "temperature", "top_p", "top_k", "policy_version", "logits_kind",
            LogprobKind.key, "sample_index",
        ] {
            if let text = object[key]?.text { metadata[key] = text }
        }
        for key in ["stop", "stop_token_ids"] { if let value = object.given(key) { metadata[key] = value.encoded } }
        group = object["group_id"]?.identifier ?? group
        takeReward(object["reward"], choice, choices)
        prompt = object["prompt"]?.string ?? prompt
        guard promptIDs == nil else { return }
        for key in ["prompt_token_ids", "input_ids", "prompt"] where promptIDs == nil {
            guard object[key]?.string == nil else { continue }
            promptIDs = reading { () throws(RolloutFault) in try tokenIDs(object[key], key) }
        }
    }

    private mutating func takeReward(_ value: JSONValue?, _ choice: Int, _ choices: Int) {
        var value = value
        if choices > 1, let list = value?.list, list.count == choices { value = list[choice] }
        takeReward(value, "reward")
    }

    /// A number, also as text, as some programs write every value. What is not finite is none; anything else is at
    /// fault.
    mutating func takeReward(_ value: JSONValue?, _ key: String) {
        guard let value else { return }
        let number = value.float ?? value.bool.map { $0 ? 1 : 0 } ?? value.string.flatMap { Float($0) }
        if let number, number.isFinite {
            reward = number
        } else if number != nil || value.isNull {
            remarks.insert(.rewardUnusable)
        } else {
            fault = fault ?? RolloutFault(.invalidValue, found: "\(key) \(value.excerpt)", expected: "a number")
        }
    }

    /// What the request knows and the line doesn't say. `number`: which of the request's prompts it answers.
    mutating func take(_ asked: SamplingRequest, prompt number: Int) {
        metadata.merge(asked.metadata) { own, _ in own }
        for key in ["reference_answer", "data_source", "policy_version"] where metadata[key] == nil {
            metadata[key] = asked.own(key, prompt: number)
        }
        if let own = asked.own("group_id", prompt: number) { group = own }
        addsSpecialTokens = asked.addsSpecialTokens
        hasNoStopStrings = asked.hasStopStrings == false
        if asked.isShaped { remarks.insert(.samplingShaped) }
        guard asked.prompts.indices.contains(number) else { return }
        let known = asked.prompts[number]
        prompt = prompt ?? known.text
        chat = chat ?? known.chat
        if let messages = known.messages, metadata["messages"] == nil { metadata["messages"] = messages }
        guard let ids = known.ids else { return }
        guard let given = promptIDs else { return promptIDs = ids }
        if given != ids { fault = fault ?? Self.otherPrompt(given, ids) }
    }

    private static func otherPrompt(_ found: [Int32], _ expected: [Int32]) -> RolloutFault {
        let place = zip(found, expected).enumerated().first { $1.0 != $1.1 }?.offset ?? min(found.count, expected.count)
        func token(_ ids: [Int32]) -> String { ids.indices.contains(place) ? "token \(ids[place])" : "its end" }
        return RolloutFault(
            .prefixMismatch, found: "\(token(found)) at position \(place) of the prompt",
            expected: "\(token(expected)), as in the request")
    }
}
