import Formats

/// Makes a dumped rollout a shard's frame, so that the same rules hold for both.
struct DumpedFrame {
    private var rollout: DumpedRollout
    private let id: String
    private let reading: LineReading
    private var remarks: Set<RolloutRemark>
    /// What a template made of the prompt's chat.
    private var rendered: String?
    private var tokenizer: TextTokens? { reading.tokenizer }

    init(_ rollout: DumpedRollout, id: String, _ reading: LineReading) {
        (self.rollout, self.id, self.reading) = (rollout, id, reading)
        remarks = rollout.remarks
    }

    /// The row, and its frame where that has something for score.
    func accepted() throws -> AcceptedRollout {
        var converted = self
        return try converted.convert()
    }

    private mutating func convert() throws -> AcceptedRollout {
        if let fault = rollout.fault { throw Rejection(id, fault) }
        try takeUsersWord()
        try RolloutValidation.requireWhole(rollout.finishReason, id: id)
        let frame = try frame()
        var validation = RolloutValidation(
            frame, span: FrameSpan(offset: 0, length: 1), keepLogits: false, invalidLogprobs: reading.invalidLogprobs)
        var row = try validation.row()
        remarks.formUnion(validation.remarks)
        let hasMore = frame.topk > 0
        if !hasMore { row.logitsLength = 0 }
        let bytes = hasMore ? FrameBytes(bytes: try RolloutShardWriter.frame(frame)) : nil
        return AcceptedRollout(
            row: row, frame: bytes, remarks: remarks, request: rollout.request, queued: rollout.queued)
    }

    /// What a line leaves open and flags answer.
    private mutating func takeUsersWord() throws {
        if rollout.hidesToolTokens {
            guard reading.trustsResponseTokens else {
                throw Rejection(
                    id, .toolTokensUnmarked, found: "calls of tools and no mask",
                    expected: "a mask of the sampled tokens, or --trust-all-response-tokens")
            }
            remarks.insert(.toolTokensTrusted)
        }
        if rollout.metadata[ARealDump.turnsUnknown] != nil {
            if reading.isOneTurn {
                rollout.metadata[ARealDump.turnsUnknown] = nil
            } else {
                remarks.insert(.turnsUnknown)
            }
        }
        if let columns = reading.rewardColumns {
            rollout = try columns.applied(to: rollout, id: id)
        } else if rollout.reward == nil, !rollout.numbers.isEmpty {
            remarks.insert(.rewardColumnsUnnamed)
        }
    }

    private mutating func frame() throws -> RolloutFrame {
        if let chat = rollout.conversation { return try frame(of: chat) }
        let prompt = try promptIDs(), completion = try completionIDs(), isRetokenised = rollout.completionIDs == nil
        let mask = rollout.completionMask ?? completion.map { _ in true }
        var frame = RolloutFrame()
        frame.tokenIDs = prompt + completion
        frame.lossMask = prompt.map { _ in false } + mask
        frame.rolloutLogprobs = try logprobs(mask, isRetokenised: isRetokenised).map {
            prompt.map { _ in Float(0) } + $0
        }
        frame.oldLogprobs = try oldLogprobs(mask, isRetokenised: isRetokenised).map {
            prompt.map { _ in Float(0) } + $0
        }
        frame.advantages = advantages(mask).map { prompt.map { _ in Float(0) } + $0 }
        if !isRetokenised { fillTopK(&frame, completion, mask) }
        fillSupport(&frame, mask, isRetokenised: isRetokenised)
        try fillExperts(&frame, isRetokenised: isRetokenised || rollout.promptIDs == nil)
        frame.metadata = metadata(prompt, completion, isRetokenised: isRetokenised || rollout.promptIDs == nil)
        return frame
    }

    /// A whole chat: its template says which tokens the assistant's turns are.
    private mutating func frame(of chat: GivenChat) throws -> RolloutFrame {
        let found = try needTokenizer("a chat's messages").conversation(chat, id: id)
        if found.hasTextBehindEnds { remarks.insert(.turnEndLeftOut) }
        let start = found.mask.firstIndex(of: true) ?? found.ids.count
        let end = found.mask.lastIndex(of: true).map { $0 + 1 } ?? found.ids.count
        var frame = RolloutFrame()
        (frame.tokenIDs, frame.lossMask) = (found.ids, found.mask)
        frame.metadata = metadata(Array(found.ids[..<start]), Array(found.ids[start..<end]), isRetokenised: true)
        return frame
    }

    // MARK: tokens

    private mutating func promptIDs() throws -> [Int32] {
        if let ids = rollout.promptIDs {
            guard let count = rollout.promptTokenCount, count != ids.count else { return ids }
            throw Rejection(
                id, .tokenCountMismatch, found: "\(ids.count) token ids of the prompt",
                expected: "\(count), as many as the engine counts (prompt_tokens)")
        }
        let ids = try tokenizedPrompt()
        guard let count = rollout.promptTokenCount, count != ids.count else { return ids }
        throw Rejection(
            id, .retokenisationDrift, found: "\(ids.count) tokens from the prompt's text",
            expected: "the \(count) that the engine was given")
    }

    private mutating func tokenizedPrompt() throws -> [Int32] {
        if let prompt = rollout.prompt {
            let text = try needTokenizer("a prompt as text alone")
            return rollout.addsSpecialTokens
                ? text.prompt(prompt) : text.tokenizer.encode(prompt, addingSpecialTokens: false)
        }
        guard let chat = rollout.chat, let tokenizer else { throw noPrompt }
        let prompt = try tokenizer.prompt(chat, id: id)
        rendered = prompt.text
        return prompt.ids
    }

    private var noPrompt: Rejection {
        guard rollout.metadata["messages"] != nil else {
            return Rejection(
                id, .noPrompt, found: "a completion alone",
                expected:
                    "the prompt's token ids (return_token_ids), a 'prompt' beside the response, or its request (--requests)"
            )
        }
        return Rejection(
            id, .noPrompt, found: "a chat's messages",
            expected:
                "the token ids that a chat template made of them (return_token_ids gives prompt_token_ids), or --tokenizer DIR with the template"
        )
    }

    private mutating func completionIDs() throws -> [Int32] {
        if let ids = rollout.completionIDs {
            guard rollout.completionMask == nil, let count = rollout.tokenCount, count != ids.count else { return ids }
            throw Rejection(
                id, .tokenCountMismatch, found: "\(ids.count) token ids",
                expected: "\(count), as many as the engine counts")
        }
        guard !rollout.isParsed, !rollout.holdsPrompt else {
            let what =
                rollout.isParsed
                ? "text that a parser took apart (reasoning, tool calls)" : "text that begins with its prompt (echo)"
            throw Rejection(id, .noTokenIDs, found: what, expected: "token ids (return_token_ids)")
        }
        let found = try needTokenizer("text alone").continuation(of: rollout, id: id)
        if let remark = found.remark { remarks.insert(remark) }
        return found.tokens
    }

    private func needTokenizer(_ found: String) throws -> TextTokens {
        guard let tokenizer else {
            throw Rejection(
                id, .noTokenIDs, found: found, expected: "token ids, or --tokenizer DIR to tokenise it again")
        }
        return tokenizer
    }

    /// Of tokens that were made of their text again only where there are as many.
    private mutating func logprobs(_ mask: [Bool], isRetokenised: Bool) throws -> [Float]? {
        try usable(rollout.logprobs, "log-probability", mask, isRetokenised: isRetokenised)
    }

    private mutating func oldLogprobs(_ mask: [Bool], isRetokenised: Bool) throws -> [Float]? {
        try usable(rollout.oldLogprobs, "trainer's log-probability", mask, isRetokenised: isRetokenised)
    }

    /// Advantages that a trainer gave, one for each token or one for all.
    private mutating func advantages(_ mask: [Bool]) -> [Float]? {
        if let one = rollout.advantage, one.isFinite { return mask.map { $0 ? one : 0 } }
        guard let given = rollout.advantages else { return nil }
        guard given.count == mask.count, mask.indices.allSatisfy({ !mask[$0] || given.values[$0].isFinite }) else {
            remarks.insert(.advantagesUnusable)
            return nil
        }
        return zip(given.values, mask).map { $1 ? $0 : 0 }
    }

    private mutating func usable(
        _ given: GivenLogprobs?, _ name: String, _ mask: [Bool], isRetokenised: Bool
    ) throws -> [Float]? {
        guard let given else { return nil }
        guard given.count == mask.count else {
            if isRetokenised { return nil }
            if reading.invalidLogprobs == .reject {
                throw Rejection(
                    id, .lengthMismatch, found: "\(given.count) log-probabilities",
                    expected: "\(mask.count), one for each token")
            }
            remarks.insert(.logprobsDropped)
            return nil
        }
        if reading.invalidLogprobs == .reject, let bad = SampledLogprobs.firstUnusable(given.values, mask) {
            throw SampledLogprobs.rejection(id, name, given.spelled(bad), at: bad)
        }
        return zip(given.values, mask).map { $1 ? $0 : 0 }
    }

    /// The k best of every sampled token, if the engine gave them by id.
    private mutating func fillTopK(_ frame: inout RolloutFrame, _ completion: [Int32], _ mask: [Bool]) {
        guard let best = rollout.best else { return }
        guard mask.allSatisfy({ $0 }), best.rows.count == completion.count else {
            remarks.insert(.topLogprobsUnusable)
            return
        }
        let width = best.width(sampled: completion)
        guard width > 0 else { return }
        let padded = best.padded(to: width)
        (frame.topk, frame.topkTokenIDs, frame.topkLogprobs) = (width, padded.tokens, padded.logprobs)
    }

    /// Which tokens could have been drawn, if the engine said so.
    private mutating func fillSupport(_ frame: inout RolloutFrame, _ mask: [Bool], isRetokenised: Bool) {
        guard let supports = rollout.supports else { return }
        guard !isRetokenised, supports.count == mask.count else {
            remarks.insert(.samplingMaskUnusable)
            return
        }
        let support = SamplingSupport(zip(supports, mask).filter(\.1).map(\.0))
        (frame.supportTokenIDs, frame.supportOffsets) = (support.tokenIDs, support.offsets.map { Int64($0) })
    }

    /// To which experts its tokens were routed, if the engine said so and somebody its shape.
    private mutating func fillExperts(_ frame: inout RolloutFrame, isRetokenised: Bool) throws {
        guard let given = rollout.experts else { return }
        guard !isRetokenised else {
            remarks.insert(.expertsUnusable)
            return
        }
        switch given {
        case .shaped(let experts): frame.experts = experts
        case .flat(let values, let start):
            guard let shape = reading.expertsShape else {
                remarks.insert(.expertsWithoutShape)
                return
            }
            let size = shape.layers * shape.perToken, rows = values.count / size
            guard
                let experts = RoutedExperts(
                    values: values, start: start, rows: rows, layers: shape.layers, perToken: shape.perToken)
            else {
                throw Rejection(
                    id, .wrongShape, found: "\(values.count) routed experts",
                    expected: "rows of \(shape.layers) layers times \(shape.perToken) experts (--routed-experts)")
            }
            frame.experts = experts
        }
    }

    // MARK: metadata

    private mutating func metadata(_ prompt: [Int32], _ completion: [Int32], isRetokenised: Bool) -> [String: String] {
        var metadata = reading.defaults.merging(rollout.metadata) { $1 }
        if reading.requests != nil, !reading.isTemperatureGiven, rollout.metadata["temperature"] == nil {
            remarks.insert(.samplingAssumed)
        }
        metadata["rollout_id"] = id
        metadata["group_id"] = rollout.group ?? group(prompt)
        if metadata["sample_index"] == nil { metadata["sample_index"] = "\(rollout.sampleIndex)" }
        metadata["prompt"] =
            rollout.prompt ?? rendered ?? tokenizer?.tokenizer.decode(prompt, skippingSpecialTokens: false)
            ?? rollout.metadata["messages"]
        metadata["completion"] = text(completion)
        metadata["finish_reason"] = rollout.finishReason
        metadata["stop_reason"] = rollout.stopReason.name
        metadata["reward"] = rollout.reward.map { "\($0)" }
        if isRetokenised { metadata["retokenised"] = "true" }
        return metadata
    }

    /// Of a rollout whose group nobody names: those that answer the same prompt, within a step where prompts come
    /// again.
    private func group(_ prompt: [Int32]) -> String {
        let scope = rollout.groupScope.isEmpty ? "" : rollout.groupScope + "-"
        return scope + "prompt-" + prefixDigest(prompt).prefix(16)
    }

    /// The whole response: from its tokens where the text is not that.
    private mutating func text(_ completion: [Int32]) -> String? {
        guard rollout.completion == nil || rollout.isParsed || rollout.holdsPrompt else { return rollout.completion }
        if let tokenizer { return tokenizer.tokenizer.decode(completion) }
        guard rollout.holdsPrompt else { return rollout.completion }
        remarks.insert(.completionUnknown)
        return nil
    }
}
