import ChatTemplates
import Files
import Formats
import Foundation
import TestSupport
import Testing

/// Where a checkpoint's template lies, what it is given, and which of a chat the assistant wrote.
@Suite struct CheckpointTemplateTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    private func template(_ files: [String: String]) throws -> CheckpointTemplate? {
        for (name, text) in files {
            if name.contains("/") { _ = try folder.folder(String(name.prefix { $0 != "/" })) }
            try text.write(toFile: folder(name), atomically: true, encoding: .utf8)
        }
        return try CheckpointTemplate(folder.path, date: nil)
    }

    private func chat(_ json: String, arguments: String = "{}") throws -> Chat {
        let object = try #require(JSONLine(json).whole)
        return try Chat(
            try #require(object["messages"]), in: object, arguments: try #require(JSONLine(arguments).whole))
    }

    private static let hello = #"{"messages": [{"role": "user", "content": "hello"}]}"#
    private static let withTools =
        #"{"messages": [{"role": "user", "content": "hello"}], "tools": [{"function": {"name": "f"}}]}"#

    @Test func theFileBesideTheTokenizerComesFirst() throws {
        let found = try template([
            "chat_template.jinja": "file", "tokenizer_config.json": #"{"chat_template": "configuration"}"#,
            "additional_chat_templates/tool_use.jinja": "tools",
        ])
        #expect(try found?.render(chat(Self.hello), .whole) == "file")
        #expect(try found?.render(chat(Self.withTools), .whole) == "tools")
        #expect(
            try CheckpointTemplate.inputPaths(folder.path).map { ($0 as NSString).lastPathComponent } == [
                "chat_template.jinja", "tokenizer_config.json", "tool_use.jinja",
            ])
    }

    @Test func aListOfTemplatesIsChosenFrom() throws {
        let list = #"[{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]"#
        let found = try template(["tokenizer_config.json": #"{"chat_template": \#(list)}"#])
        #expect(try found?.render(chat(Self.hello), .whole) == "d")
        #expect(try found?.render(chat(Self.withTools), .whole) == "t")
        let odd = try template(["tokenizer_config.json": #"{"chat_template": [{"name": "rag", "template": "r"}]}"#])
        do {
            _ = try odd?.render(chat(Self.hello), .whole)
            Issue.record("took one")
        } catch { #expect("\(error)".contains("'rag'") && "\(error)".contains("named 'default'"), "\(error)") }
        #expect(throws: FormatError.self) { try template(["tokenizer_config.json": #"{"chat_template": 3}"#]) }
        #expect(try template(["tokenizer_config.json": #"{"eos_token": "e"}"#]) == nil)
        #expect(throws: FormatError.self) { try template(["tokenizer_config.json": "{"]) }
    }

    @Test func specialTokensComeFromBothFiles() throws {
        let source = "{{ bos_token }}|{{ eos_token }}|{{ image_token }}|{{ pad_token }}"
        let config =
            #"{"bos_token": {"content": "<s>"}, "eos_token": "</s>", "extra_special_tokens": {"image_token": "<i>"}"#
        let map = #"{"eos_token": "<end>", "pad_token": {"content": "<pad>"}}"#
        let both = try template([
            "chat_template.jinja": source, "tokenizer_config.json": config + "}", "special_tokens_map.json": map,
        ])
        #expect(try both?.render(chat(Self.hello), .whole) == "<s>|<end>|<i>|<pad>")
        // A configuration with an added_tokens_decoder is complete.
        let one = try template(["tokenizer_config.json": config + #", "added_tokens_decoder": {}}"#])
        #expect(try one?.render(chat(Self.hello), .whole) == "<s>|</s>|<i>|")
        #expect(
            try one?.render(chat(Self.hello, arguments: #"{"bos_token": "mine"}"#), .whole) == "mine|</s>|<i>|")
    }

    /// As transformers prepares messages: null is left out, reasoning stands under the names that templates read.
    @Test func messagesArePrepared() throws {
        let found = try template(["chat_template.jinja": "{% for m in messages %}{{ m }}{% endfor %}"])
        let json =
            #"{"messages": [{"role": "assistant", "content": null, "reasoning": "r"}, {"role": "assistant", "reasoning_content": null, "thinking": "t", "content": "c"}]}"#
        #expect(
            try found?.render(chat(json), .whole)
                == "{'thinking': 'r', 'role': 'assistant', 'reasoning': 'r', 'reasoning_content': 'r'}"
                + "{'role': 'assistant', 'thinking': 't', 'content': 'c', 'reasoning_content': 't'}")
    }

    @Test func argumentsOfCallsBecomeObjects() throws {
        let found = try template(["chat_template.jinja": "{{ messages[0].tool_calls[0].function.arguments|tojson }}"])
        let json =
            #"{"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{\"b\": 1, \"a\": 2}"}}]}]}"#
        #expect(try found?.render(chat(json).parsingToolArguments(), .whole) == #"{"b": 1, "a": 2}"#)
        #expect(try found?.render(chat(json), .whole) == #""{\"b\": 1, \"a\": 2}""#)
    }

    @Test func aLastMessageGoesOn() throws {
        let source = "{% for m in messages %}{{ m.content|trim }}!{% endfor %}"
        let json = #"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b "}]}"#
        #expect(try template(["chat_template.jinja": source])?.render(chat(json), .continued) == "a!b")
        let kept = try template(["chat_template.jinja": source.replacingOccurrences(of: "|trim", with: "")])
        #expect(try kept?.render(chat(json), .continued) == "a!b ")
        let other = try template(["chat_template.jinja": "{{ messages[0].content }}"])
        #expect(throws: ChatFault.self) { try other?.render(chat(json), .continued) }
    }

    private static let turns =
        #"{"messages": [{"role": "user", "content": "é1"}, {"role": "assistant", "content": "😀2"}, {"role": "user", "content": "3"}, {"role": "assistant", "content": "4"}]}"#

    @Test func turnsAreSpansOfCharacters() throws {
        let source =
            "{% for m in messages %}{{ m.role[0] }}:{{ m.content }};{% endfor %}{{ 'a:' if add_generation_prompt }}"
        let found = try template(["chat_template.jinja": source])?.assistantTurns(chat(Self.turns))
        #expect(found?.text == "u:é1;a:😀2;u:3;a:4;" && found?.spans == [7..<10, 16..<18])
        // Mistral's kind opens nothing: the turn is the message's own text.
        let plain =
            "{% for m in messages %}{{ '[' + m.content + ']' if m.role == 'user' else ' ' + m.content + '$' }}{% endfor %}"
        let bare = try template(["chat_template.jinja": plain])?.assistantTurns(chat(Self.turns))
        #expect(bare?.text == "[é1] 😀2$[3] 4$" && bare?.spans == [4..<8, 11..<14])
    }

    @Test(arguments: [
        (#"{"messages": [{"role": "assistant", "content": "a"}]}"#, "begins with the assistant"),
        (#"{"messages": [{"role": "user", "content": "a"}]}"#, "without a turn"),
    ]) func chatsWithoutTurnsAreNamed(_ json: String, _ words: String) throws {
        let found = try template(["chat_template.jinja": "{% for m in messages %}{{ m.content }}{% endfor %}"])
        do {
            _ = try found?.assistantTurns(chat(json))
            Issue.record("accepted")
        } catch { #expect("\(error)".contains(words), "\(error)") }
    }
}
