import Files
import Formats
import Foundation

/// A checkpoint's chat template: `chat_template.jinja` beside the tokenizer, else `chat_template` of
/// tokenizer_config.json; with the special tokens that it may print.
package struct CheckpointTemplate: Sendable {
    private let templates: [String: ChatTemplate]
    private let folder: String
    private let specialTokens: [(name: String, value: JSONValue)]
    /// What `strftime_now` gives.
    private let date: TemplateDate?

    private static let jinja = "chat_template.jinja", config = "tokenizer_config.json"
    private static let map = "special_tokens_map.json", more = "additional_chat_templates"
    /// Names of templates that are chosen from.
    private static let plain = "default", withTools = "tool_use"

    /// nil where the folder has none. `date`: for templates that print today's.
    package init?(_ folder: String, date: TemplateDate?) throws {
        guard try Folder.isFolder(folder) else { return nil }
        let config = try Self.object(folder, Self.config) ?? JSONObject()
        let templates = try Self.files(folder) ?? Self.templates(config, folder)
        guard !templates.isEmpty else { return nil }
        (self.templates, self.folder, self.date) = (templates, folder, date)
        specialTokens = try Self.specialTokens(config, folder)
    }

    /// Every file that a rendering depends on, for manifests.
    package static func inputPaths(_ folder: String) throws -> [String] {
        guard try Folder.isFolder(folder) else { return [] }
        return try ([jinja, config, map] + additional(folder)).map { folder + "/" + $0 }.filter(fileExists)
    }

    /// Whether some template prints the day on which it is used.
    package var asksForDate: Bool { templates.values.contains { $0.asksForDate } }

    // MARK: files

    private static func object(_ folder: String, _ name: String) throws -> JSONObject? {
        let path = folder + "/" + name
        guard try fileExists(path), let data = try readFile(path) else { return nil }
        let json = JSONLine(data)
        guard let object = json.whole else {
            throw FormatError(
                file: path, place: "", found: "text that is no JSON object (\(json.damage?.description ?? ""))",
                expected: "a JSON object", remedy: "The file is damaged; copy it again.")
        }
        return object
    }

    private static func additional(_ folder: String) throws -> [String] {
        guard try fileStatus(folder + "/" + more) != nil, try Folder.isFolder(folder + "/" + more) else { return [] }
        return try FileManager.default.contentsOfDirectory(atPath: folder + "/" + more).filter {
            $0.hasSuffix(".jinja")
        }
        .sorted().map { more + "/" + $0 }
    }

    private static func files(_ folder: String) throws -> [String: ChatTemplate]? {
        guard try fileExists(folder + "/" + jinja) else { return nil }
        var templates = [plain: try template(folder + "/" + jinja)]
        for name in try additional(folder) {
            templates[String(name.dropFirst(more.count + 1).dropLast(6))] = try template(folder + "/" + name)
        }
        return templates
    }

    private static func template(_ path: String) throws -> ChatTemplate {
        guard let data = try readFile(path), let text = String(validating: data, as: UTF8.self) else {
            throw FormatError(file: path, place: "", found: "no readable UTF-8", expected: "a chat template")
        }
        return try ChatTemplate(text, name: path)
    }

    /// A text, or a list of `{name, template}`.
    private static func templates(_ config: JSONObject, _ folder: String) throws -> [String: ChatTemplate] {
        guard let given = config.given("chat_template") else { return [:] }
        let name = folder + "/" + Self.config + ": chat_template"
        if let text = given.string { return [plain: try ChatTemplate(text, name: name)] }
        var templates: [String: ChatTemplate] = [:]
        for entry in given.list ?? [] {
            guard let own = entry.object?["name"]?.string, let text = entry.object?["template"]?.string else {
                continue
            }
            templates[own] = try ChatTemplate(text, name: "\(name) '\(own)'")
        }
        guard !templates.isEmpty, templates.count == given.list?.count else {
            throw FormatError(
                file: folder + "/" + Self.config, place: "key chat_template", found: given.excerpt,
                expected: "a template, or a list of {name, template} with each name once")
        }
        return templates
    }

    // MARK: special tokens

    /// `bos_token` and its like, as transformers 5 collects them: from tokenizer_config.json, and, where that has no
    /// added_tokens_decoder, from special_tokens_map.json.
    private static func specialTokens(_ config: JSONObject, _ folder: String) throws -> [(
        name: String, value: JSONValue
    )] {
        var objects = [config]
        if config.given("added_tokens_decoder") == nil, let map = try object(folder, map) { objects.append(map) }
        return objects.flatMap { object -> [(name: String, value: JSONValue)] in
            let named = object.members.filter { $0.key.hasSuffix("_token") }
            let extra = object["extra_special_tokens"]?.object?.members ?? []
            return (named + extra).compactMap { member -> (name: String, value: JSONValue)? in
                let text = member.value.string ?? member.value.object?["content"]?.string
                return text.map { (member.key, JSONValue.string($0)) }
            }
        }
    }

    // MARK: rendering

    /// How a chat ends.
    package enum Ending: Sendable {
        /// As it is.
        case whole
        /// With what opens the assistant's next turn.
        case generationPrompt
        /// Behind the text of its last message, which is to go on.
        case continued
    }

    private func template(for chat: Chat) throws -> ChatTemplate {
        if chat.tools != nil, let template = templates[Self.withTools] { return template }
        if let template = templates[Self.plain] { return template }
        throw FormatError(
            file: folder, place: "chat templates",
            found: templates.keys.sorted().map { "'\($0)'" }.joined(separator: ", "), expected: "one named 'default'")
    }

    func hasGenerationMarks(_ chat: Chat) throws -> Bool { try template(for: chat).hasGenerationMarks }

    package func rendering(_ chat: Chat, addGenerationPrompt: Bool) throws -> ChatTemplate.Rendering {
        // What the chat says wins over the checkpoint.
        try template(for: chat).render(specialTokens + chat.names(addGenerationPrompt: addGenerationPrompt), date: date)
    }

    package func render(_ chat: Chat, _ ending: Ending) throws -> String {
        switch ending {
        case .whole: try rendering(chat, addGenerationPrompt: false).text
        case .generationPrompt: try rendering(chat, addGenerationPrompt: true).text
        case .continued: try continued(chat)
        }
    }

    private func continued(_ chat: Chat) throws -> String {
        let mark = "CONTINUE_FINAL_MESSAGE_TAG ", (marked, last) = try chat.marking(mark)
        let text = try rendering(marked, addGenerationPrompt: false).text
        let parts = PythonString.splitFromRight(text, at: String(mark.dropLast()), limit: 1)
        // A template may take thoughts out of a message: what is left is not what was to go on.
        guard parts.count == 2, PythonString.find(PythonString.strip(last, nil, .both), in: text) != nil else {
            throw ChatFault(
                found: "a template that doesn't print the last message", expected: "one whose last message can go on")
        }
        // Where the template takes white space off, the message's own is gone too.
        return parts[1].hasPrefix(" ") ? parts[0] : PythonString.strip(parts[0], nil, .right)
    }
}
