import ChatTemplates
import Formats
import Tokenizer

/// Chats → token ids, by a checkpoint's template and tokenizer.
package struct ChatTokens: Sendable {
    private let template: CheckpointTemplate
    private let tokenizer: Tokenizer
    private let arguments: JSONObject
    private let day: TemplateDate

    /// nil where the folder has no template.
    package init?(_ folder: String, _ tokenizer: Tokenizer, _ options: ChatOptions) throws {
        day = options.day
        guard let template = try CheckpointTemplate(folder, date: day) else { return nil }
        (self.template, self.tokenizer, arguments) = (template, tokenizer, options.arguments)
    }

    /// What was taken for today, where a template prints it and nobody said which day it should be.
    package func dateNote(_ options: ChatOptions) -> String? {
        guard template.asksForDate, options.date == nil else { return nil }
        return "the chat template prints today's date: \(day.description) was taken; "
            + "--date \(day.description) makes the same prompts tomorrow"
    }

    /// The day, where prompts depend on it: for manifests.
    package var dayThatMatters: String? { template.asksForDate ? day.description : nil }

    package func chat(_ given: GivenChat) throws(ChatFault) -> Chat {
        if given.hasOwnTemplate {
            throw ChatFault(
                found: "a request with a chat_template of its own", expected: "the checkpoint's, or prompt_token_ids")
        }
        return try Chat(given.messages, in: given.fields, arguments: arguments)
    }

    // MARK: prompts

    package struct Prompt: Sendable {
        package let text: String
        package let ids: [Int32]
    }

    /// A chat that the assistant is to answer. Templates print what begins a text themselves, so nothing is added.
    package func prompt(_ given: GivenChat) throws -> Prompt {
        let chat = try chat(given).parsingToolArguments()
        let ending: CheckpointTemplate.Ending =
            given.continuesLastMessage ? .continued : given.addsGenerationPrompt ? .generationPrompt : .whole
        let text = try template.render(chat, ending)
        return Prompt(text: text, ids: tokenizer.encode(text, specialTokens: .never))
    }

    // MARK: whole chats

    /// A chat with the assistant's turns: which tokens these are.
    package struct Conversation: Sendable {
        package let ids: [Int32]
        package let mask: [Bool]
        /// Whether something of a turn stands behind the token that ends it: nobody sampled that.
        package let hasTextBehindEnds: Bool
    }

    /// `ends`: tokens that end a turn.
    package func conversation(_ given: GivenChat, ends: Set<Int32>) throws -> Conversation {
        let turns = try template.assistantTurns(try chat(given).parsingToolArguments())
        let ids = tokenizer.encode(turns.text, specialTokens: .never)
        let edges = Edges(turns.text, ids, tokenizer)
        var mask = ids.map { _ in false }, hasTextBehindEnds = false
        for span in turns.spans {
            let own = try edges.tokens(before: span.lowerBound)..<edges.tokens(before: span.upperBound)
            let end = ids[own].firstIndex(where: ends.contains).map { $0 + 1 } ?? own.upperBound
            if end < own.upperBound { hasTextBehindEnds = true }
            for place in own.lowerBound..<end { mask[place] = true }
        }
        return Conversation(ids: ids, mask: mask, hasTextBehindEnds: hasTextBehindEnds)
    }
}

/// Where in a text's tokens a place of the text is: the tokens of what stands before it have to be those that the whole
/// text begins with.
private struct Edges {
    private let scalars: [Unicode.Scalar]
    private let ids: [Int32]
    private let tokenizer: Tokenizer

    init(_ text: String, _ ids: [Int32], _ tokenizer: Tokenizer) {
        (scalars, self.ids, self.tokenizer) = (Array(text.unicodeScalars), ids, tokenizer)
    }

    func tokens(before place: Int) throws(ChatFault) -> Int {
        guard place < scalars.count else { return ids.count }
        let before = tokenizer.encode(text(0..<place), specialTokens: .never)
        guard ids.starts(with: before) else {
            let left = text(max(0, place - 12)..<place), right = text(place..<min(scalars.count, place + 12))
            throw ChatFault(
                found: "a token that reaches over the edge of the assistant's turn, '\(left)|\(right)'",
                expected: "turns that begin and end between tokens")
        }
        return before.count
    }

    private func text(_ range: Range<Int>) -> String {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: scalars[range])
        return String(view)
    }
}
