import Formats

/// A whole chat as text, and which of it the assistant wrote.
package struct AssistantTurns: Equatable, Sendable {
    package let text: String
    /// In Unicode characters, in order, none empty.
    package let spans: [Range<Int>]
}

extension CheckpointTemplate {
    /// By the template's own marks (`{% generation %}`); without them by rendering the chat up to each of the
    /// assistant's messages, with what opens a turn, and up to its end. Throws `ChatFault` where these are no beginnings
    /// of the whole: then nobody can tell the turns apart.
    package func assistantTurns(_ chat: Chat) throws -> AssistantTurns {
        guard chat.messages.contains(where: { Self.isAssistant($0) }) else {
            throw ChatFault(found: "a chat without a turn of the assistant", expected: "at least one")
        }
        let whole = try rendering(chat, addGenerationPrompt: false)
        let spans = try hasGenerationMarks(chat) ? marked(whole) : found(chat, whole.text)
        let turns = spans.filter { !$0.isEmpty }
        guard !turns.isEmpty else {
            throw ChatFault(found: "turns of the assistant without any text", expected: "something that was sampled")
        }
        return AssistantTurns(text: whole.text, spans: turns)
    }

    private static func isAssistant(_ message: JSONObject) -> Bool { message["role"]?.string == "assistant" }

    private func marked(_ whole: ChatTemplate.Rendering) throws -> [Range<Int>] {
        if let line = whole.misplacedGeneration {
            throw ChatFault(
                found: "a template whose {% generation %} in line \(line) stands in a macro or a captured block",
                expected: "marks in the template's own body, whose place in the text is known")
        }
        return whole.generation
    }

    private func found(_ chat: Chat, _ whole: String) throws -> [Range<Int>] {
        try chat.messages.indices.filter { Self.isAssistant(chat.messages[$0]) }.map { number in
            guard number > 0 else {
                throw ChatFault(found: "a chat that begins with the assistant", expected: "a message before its turn")
            }
            let opened = try beginning(chat.prefix(number), opens: true, of: whole, number)
            let ended = try beginning(chat.prefix(number + 1), opens: false, of: whole, number)
            guard opened.utf8.count <= ended.utf8.count else {
                throw ChatFault(
                    found: "a template that opens message \(number) with more than the whole message has",
                    expected: "a turn whose beginning can be told")
            }
            try requireOpening(chat, number, opened, ended)
            return opened.unicodeScalars.count..<ended.unicodeScalars.count
        }
    }

    private func beginning(_ part: Chat, opens: Bool, of whole: String, _ number: Int) throws -> String {
        let text = try rendering(part, addGenerationPrompt: opens).text
        guard whole.utf8.starts(with: text.utf8) else {
            let what = opens ? "up to message \(number) and opened for the assistant" : "up to message \(number)'s end"
            throw ChatFault(
                found: "a chat that, rendered \(what), is no beginning of the whole",
                expected:
                    "one whose turns stay as they are when others follow; a template with {% generation %} marks says itself"
            )
        }
        return text
    }

    /// A template that doesn't know of generation prompts leaves the turn's own header to the turn.
    private func requireOpening(_ chat: Chat, _ number: Int, _ opened: String, _ ended: String) throws {
        let plain = try rendering(chat.prefix(number), addGenerationPrompt: false).text
        guard plain.utf8.elementsEqual(opened.utf8) else { return }
        let turn = PythonString.strip(
            String(decoding: ended.utf8.dropFirst(opened.utf8.count), as: UTF8.self), nil, .left)
        let content = PythonString.strip(chat.messages[number]["content"]?.string ?? "", nil, .left)
        guard !content.isEmpty, turn.utf8.starts(with: content.utf8) else {
            throw ChatFault(
                found:
                    "a template that doesn't open the assistant's turn (add_generation_prompt), at message \(number)",
                expected: "one from which the turn's header can be told from its text")
        }
    }
}
