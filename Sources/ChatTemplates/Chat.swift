import Formats

/// What is wrong with a chat as a file has it.
package struct ChatFault: Error, Equatable, Sendable {
    package let found: String
    package let expected: String

    package init(found: String, expected: String) { (self.found, self.expected) = (found, expected) }
}

/// A chat, with what a template may ask for beside its messages.
package struct Chat: Sendable {
    /// Without keys whose value is null, and with reasoning under the names that templates read.
    package private(set) var messages: [JSONObject]
    package let tools: JSONValue?
    private let documents: JSONValue?
    /// `chat_template_kwargs`: names of the template's own.
    private let arguments: JSONObject

    /// Names that a template has of itself.
    private static let ownNames = ["messages", "add_generation_prompt", "continue_final_message"]

    /// `fields`: the line or the request's body in which `messages` stands, with tools, documents and
    /// chat_template_kwargs. `arguments`: for all chats alike; a line's own win.
    package init(_ messages: JSONValue, in fields: JSONObject, arguments: JSONObject = JSONObject()) throws(ChatFault) {
        guard let list = messages.list, !list.isEmpty else {
            throw ChatFault(found: "messages \(messages.excerpt)", expected: "a list of messages, at least one")
        }
        var read: [JSONObject] = []
        for (number, value) in list.enumerated() {
            guard let object = value.object, object.given("role") != nil else {
                throw ChatFault(found: "\(value.excerpt) as message \(number)", expected: "an object with a role")
            }
            read.append(Self.prepared(object))
        }
        self.messages = read
        tools = try Self.list("tools", fields)
        let given = fields.given("chat_template_kwargs")
        guard given == nil || given?.object != nil else {
            throw ChatFault(found: "chat_template_kwargs \(given?.excerpt ?? "")", expected: "an object")
        }
        let all = JSONObject(arguments.members + (given?.object?.members ?? []))
        if let odd = Self.ownNames.first(where: { all[$0] != nil }) {
            throw ChatFault(found: "'\(odd)' among the template's arguments", expected: "names of the template's own")
        }
        documents = try Self.list("documents", fields)
        self.arguments = all
    }

    private static func list(_ key: String, _ fields: JSONObject) throws(ChatFault) -> JSONValue? {
        guard let value = fields.given(key) else { return nil }
        guard let list = value.list, list.allSatisfy({ $0.object != nil }) else {
            throw ChatFault(found: "\(key) \(value.excerpt)", expected: "a list of objects")
        }
        return value
    }

    // MARK: messages

    private static let reasoning = ["reasoning_content", "thinking", "reasoning"]

    /// As transformers 5 prepares a message: what is null is left out, and reasoning under any of its names stands
    /// under the first two.
    private static func prepared(_ message: JSONObject) -> JSONObject {
        // Of equal keys the last counts.
        var members: [JSONObject.Member] = []
        for member in message.members {
            members.removeAll { $0.key.utf8.elementsEqual(member.key.utf8) }
            if !member.value.isNull { members.append(member) }
        }
        let own = JSONObject(members)
        guard let thought = reasoning.lazy.compactMap({ own[$0] }).first else { return own }
        if own["thinking"] == nil { members.insert(.init(key: "thinking", value: thought), at: 0) }
        if let place = members.firstIndex(where: { $0.key == reasoning[0] }) {
            members[place] = .init(key: reasoning[0], value: thought)
        } else {
            members.append(.init(key: reasoning[0], value: thought))
        }
        return JSONObject(members)
    }

    /// Calls of tools whose arguments came as JSON in a text, as OpenAI's requests have them, get them as objects: what
    /// engines do before they render.
    package func parsingToolArguments() -> Chat {
        var chat = self
        chat.messages = messages.map { message in
            message.replacing("tool_calls") { calls in
                guard let list = calls.list else { return calls }
                return .list(
                    list.map { call in
                        guard let object = call.object else { return call }
                        return .object(object.replacing("function") { Self.parsed($0) })
                    })
            }
        }
        return chat
    }

    private static func parsed(_ function: JSONValue) -> JSONValue {
        guard let object = function.object else { return function }
        return .object(
            object.replacing("arguments") { value in
                value.string.flatMap { JSONLine($0).whole }.map { .object($0) } ?? value
            })
    }

    /// The first so many messages.
    func prefix(_ count: Int) -> Chat {
        var chat = self
        chat.messages = Array(messages.prefix(count))
        return chat
    }

    /// The last message's text, and the chat with a mark behind it: what stands behind it is not the message's.
    func marking(_ mark: String) throws(ChatFault) -> (chat: Chat, last: String) {
        var chat = self
        guard let last = messages.last, let content = last["content"] else {
            throw ChatFault(found: "a last message without content", expected: "a text to be continued")
        }
        var found: String?
        let marked: JSONValue
        if let text = content.string {
            (marked, found) = (.string(text + mark), text)
        } else {
            var parts = content.list ?? []
            if let place = parts.lastIndex(where: { $0.object?["text"]?.string != nil }), let part = parts[place].object
            {
                parts[place] = .object(part.replacing("text") { .string(($0.string ?? "") + mark) })
                found = part["text"]?.string
            }
            marked = .list(parts)
        }
        guard let found else {
            throw ChatFault(found: "a last message without a text", expected: "a text to be continued")
        }
        chat.messages[messages.count - 1] = last.replacing("content") { _ in marked }
        return (chat, found)
    }

    // MARK: for the template

    /// What a template can ask for; of equal names the last counts.
    func names(addGenerationPrompt: Bool) -> [(name: String, value: JSONValue)] {
        [
            ("messages", .list(messages.map { .object($0) })), ("tools", tools ?? .null),
            ("documents", documents ?? .null), ("add_generation_prompt", .bool(addGenerationPrompt)),
        ] + arguments.members.map { ($0.key, $0.value) }
    }
}

extension JSONObject {
    fileprivate func replacing(_ key: String, _ change: (JSONValue) -> JSONValue) -> JSONObject {
        JSONObject(members.map { $0.key == key ? Member(key: key, value: change($0.value)) : $0 })
    }
}
