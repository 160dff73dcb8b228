import Files
import Formats
import Foundation
import Tokenizer
import ChatPrompts
import ChatTemplates

/// Turns text into tokens, for engines that return no ids.
struct TextTokens: Sendable {
    let tokenizer: Tokenizer
    /// Ids that end a sequence, and the one among them that the tokenizer itself calls so.
    private let stopTokens: Set<Int32>
    private let endToken: Int32?

    /// For prompts as text.
    let specialTokens: SpecialTokenRule
    /// For chats; a template that can't be read costs the rows that need it.
    private let chats: Result<ChatTokens?, any Error>

    init(_ path: String, specialTokens: SpecialTokenRule = .auto, chats options: ChatOptions? = nil) throws {
        (tokenizer, stopTokens) = (try Tokenizer(path: path), try StopTokens.read(path) ?? [])
        self.specialTokens = specialTokens
        chats = Result { [tokenizer] in try options.flatMap { try ChatTokens(path, tokenizer, $0) } }
        let own = try Self.endText(path).flatMap { [tokenizer] in tokenizer.id(of: $0) }
        endToken =
            own.flatMap { [stopTokens] in stopTokens.isEmpty || stopTokens.contains($0) ? $0 : nil }
            ?? (stopTokens.count == 1 ? stopTokens.first : nil)
    }

    /// A prompt that an engine was given as text.
    func prompt(_ text: String) -> [Int32] { tokenizer.encode(text, specialTokens: specialTokens) }

    // MARK: chats

    /// What was taken for today, where a template prints it.
    func dateNote(_ options: ChatOptions) -> String? { (try? chats.get())?.dateNote(options) }
    var dayThatMatters: String? { (try? chats.get())?.dayThatMatters }

    func prompt(_ chat: GivenChat, id: String?) throws -> ChatTokens.Prompt {
        try rendering(id, .noPrompt) { try $0.prompt(chat) }
    }

    func conversation(_ chat: GivenChat, id: String?) throws -> ChatTokens.Conversation {
        try rendering(id, .noTokenIDs) { try $0.conversation(chat, ends: stopTokens) }
    }

    private func rendering<T>(_ id: String?, _ reason: RejectReason, _ render: (ChatTokens) throws -> T) throws -> T {
        do {
            guard let chats = try chats.get() else {
                throw Rejection(
                    id, reason, found: "a chat's messages",
                    expected: "its token ids, or a --tokenizer with a chat template")
            }
            return try render(chats)
        } catch let fault as ChatFault {
            throw Rejection(id, reason, found: fault.found, expected: fault.expected)
        } catch let error as TemplateError {
            throw Rejection(id, reason, detail: error.description)
        }
    }

    /// `eos_token` of tokenizer_config.json, text or an object with its content: vLLM names any other id that stopped a
    /// rollout.
    private static func endText(_ folder: String) throws -> String? {
        let value = try readFile(folder + "/tokenizer_config.json").flatMap { JSONLine($0).whole }?["eos_token"]
        return value?.string ?? value?.object?["content"]?.string
    }

    /// Tokens of a text, and what is to be said of them.
    struct Continuation: Equatable {
        var tokens: [Int32]
        var remark: RolloutRemark?
    }

    /// What was sampled of a rollout that is known by its text: with the token that stopped it, where that is known.
    func continuation(of rollout: DumpedRollout, id: String?) throws -> Continuation {
        let text = rollout.completion ?? "", count = rollout.tokenCount
        let tokens = tokenizer.encode(text, addingSpecialTokens: false)
        var found = Continuation(tokens: tokens)
        if FinishReason(rollout.finishReason) == .finished { found = try ended(rollout, text, tokens, count, id) }
        guard !found.tokens.isEmpty else {
            throw Rejection(id, .emptyContinuation, found: "no text", expected: "at least one token")
        }
        guard let count, found.remark != .stopStringLeftOut, count != found.tokens.count else { return found }
        throw Rejection(
            id, .retokenisationDrift, found: "\(found.tokens.count) tokens from its text",
            expected: "the \(count) that the engine sampled")
    }

    private func ended(_ rollout: DumpedRollout, _ text: String, _ tokens: [Int32], _ count: Int?, _ id: String?) throws
        -> Continuation
    {
        switch rollout.stopReason {
        case .token(let token): return Continuation(tokens: with(token, tokens, count))
        case .text(let stop): return try cutOff(by: stop, text, tokens, count, id)
        case .endOfSequence:
            if let endToken { return Continuation(tokens: with(endToken, tokens, count)) }
        case .unknown:
            // Engines count the token that stopped them, but leave it out of the text.
            let isCounted = count == tokens.count + 1, isAll = count == tokens.count
            if isAll { return Continuation(tokens: tokens) }
            if let endToken, isCounted || count == nil && rollout.hasNoStopStrings {
                return Continuation(tokens: tokens + [endToken])
            }
        }
        guard count == nil || count == tokens.count else { throw unknownStop(tokens, count, id) }
        return Continuation(tokens: tokens, remark: .stopTokenUnknown)
    }

    private func unknownStop(_ tokens: [Int32], _ count: Int?, _ id: String?) -> Rejection {
        let known = stopTokens.sorted().map { "\($0)" }.joined(separator: ", ")
        guard stopTokens.count > 1, count == tokens.count + 1 else {
            return Rejection(
                id, .retokenisationDrift, found: "\(tokens.count) tokens from its text",
                expected: "the \(count ?? 0) that the engine sampled")
        }
        return Rejection(
            id, .unknownStopToken, found: "a rollout that one of the tokens \(known) stopped, and no word which",
            expected: "token ids (return_token_ids), stop_reason or matched")
    }

    /// Engines that were told not to skip special tokens have it in the text already.
    private func with(_ end: Int32, _ tokens: [Int32], _ count: Int?) -> [Int32] {
        tokens.last == end && (count ?? tokens.count) == tokens.count ? tokens : tokens + [end]
    }

    /// The stop string's tokens were sampled, but its text is cut off. With it back in place there must be as many
    /// tokens as the engine
    /// counted; otherwise what is known ends before it.
    private func cutOff(by stop: String, _ text: String, _ tokens: [Int32], _ count: Int?, _ id: String?) throws
        -> Continuation
    {
        // An engine may have been told to leave it in.
        if text.utf8.suffix(stop.utf8.count).elementsEqual(stop.utf8) { return Continuation(tokens: tokens) }
        guard let count else { return Continuation(tokens: tokens, remark: .stopStringLeftOut) }
        let whole = tokenizer.encode(text + stop, addingSpecialTokens: false)
        if whole.count == count { return Continuation(tokens: whole) }
        guard count >= tokens.count else {
            throw Rejection(
                id, .retokenisationDrift, found: "\(tokens.count) tokens from its text",
                expected: "the \(count) that the engine sampled")
        }
        return Continuation(tokens: tokens, remark: .stopStringLeftOut)
    }
}

extension TextTokens {
    /// Where a line says how many tokens all its texts have together: what that makes of each. Left open where it can't
    /// be told.
    func withCounts(_ rollouts: [DumpedRollout]) -> [DumpedRollout] {
        guard let total = rollouts.first?.lineTokenCount, rollouts.count > 1,
            rollouts.allSatisfy({ $0.completionIDs == nil && $0.tokenCount == nil && !$0.isParsed && !$0.holdsPrompt })
        else { return rollouts }
        let counts = rollouts.map { tokenizer.encode($0.completion ?? "", addingSpecialTokens: false).count }
        let isFinished = rollouts.map { FinishReason($0.finishReason) == .finished },
            missing = total - counts.reduce(0, +)
        let isAmongThem = missing == 0, isBehindThem = missing == isFinished.count { $0 }
        let hasString = rollouts.contains { if case .text = $0.stopReason { true } else { false } }
        return rollouts.indices.map { place in
            var rollout = rollouts[place]
            if isAmongThem || isBehindThem && !hasString {
                rollout.tokenCount = counts[place] + (isBehindThem && !isAmongThem && isFinished[place] ? 1 : 0)
            } else if !hasString || missing < 0 {
                rollout.fault = RolloutFault(
                    .retokenisationDrift,
                    found: "\(counts.reduce(0, +)) tokens from the texts of \(rollouts.count) choices",
                    expected: "the \(total) that the engine sampled")
            }
            return rollout
        }
    }
}
