import Arrow
import Formats
import Foundation
import TestSupport
import Testing

private let rollout = Executable("crux-rollout")

/// Chats as prompts and as whole rollouts, by a checkpoint's own template.
@Suite struct ChatTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    /// The policy's "Q: 2+2=?\nA: ", as a template writes it.
    private static let template = """
        {%- for m in messages -%}
            {{- 'Q: ' if m.role == 'user' else 'A: ' }}{{ m.content }}{{ '' if m.role == 'user' else eos_token }}{{ '\\n' }}
        {%- endfor -%}
        {{- 'A: ' if add_generation_prompt }}
        """

    /// The policy with a template beside it.
    private func policy(_ template: String = ChatTests.template, name: String = "policy") throws -> String {
        let place = try folder.folder(name)
        for file in try FileManager.default.contentsOfDirectory(atPath: fixture("policy")) {
            try FileManager.default.copyItem(atPath: fixture("policy") + "/" + file, toPath: place + "/" + file)
        }
        try template.write(toFile: place + "/chat_template.jinja", atomically: true, encoding: .utf8)
        return place
    }

    private func write(_ lines: [String], to name: String) throws -> String {
        try (lines.joined(separator: "\n") + "\n").write(toFile: folder(name), atomically: true, encoding: .utf8)
        return folder(name)
    }

    private func rows(_ name: String) throws -> [RolloutRow] {
        try ArrowTableReader(path: folder(name) + "/rollouts-00000.arrow", table: Tables.rollouts).rows()
    }

    private func rejected(_ name: String) throws -> [RejectedRow] {
        try ArrowTableReader(path: folder(name) + "/rejected.arrow", table: Tables.rejected).rows()
    }

    // MARK: prompts

    private func sample(_ policy: String, _ line: String, _ more: [String] = [], to name: String) throws
        -> Executable.Result
    {
        try rollout.run(
            [
                "--checkpoint", policy, "--prompts", try write([line], to: name + ".jsonl"), "--output", folder(name),
                "--group-size", "2", "--max-tokens", "8",
            ] + more)
    }

    private func sampled(_ policy: String, _ line: String, _ more: [String] = [], to name: String) throws
        -> [RolloutRow]
    {
        let result = try sample(policy, line, more, to: name)
        #expect(result.status == 0, "\(result.errors)")
        let ingested = try ingest.run(["--quiet", "--input", folder(name), "--output", folder(name + "-ingest")])
        #expect(ingested.status == 0, "\(ingested.errors)")
        return try rows(name + "-ingest")
    }

    @Test func aChatIsThePromptThatItsTemplateMakes() throws {
        let policy = try policy(), text = #"{"group_id":"g","prompt":"Q: 27+45=?\nA: "}"#
        let plain = try sampled(policy, text, to: "plain")
        let chat = #"[{"role":"user","content":"27+45=?"}]"#
        for (name, key) in [("chat", "messages"), ("list", "prompt")] {
            let found = try sampled(policy, #"{"group_id":"g","\#(key)":\#(chat)}"#, to: name)
            #expect(found.map(\.tokenIDs) == plain.map(\.tokenIDs) && found.map(\.prompt) == plain.map(\.prompt))
        }
    }

    @Test func aTemplateGetsItsArgumentsAndItsDate() throws {
        let policy = try policy("{{ messages[0].content }}{{ a }}{{ strftime_now('%Y%m%d') }}={{ b }}")
        let line = #"{"group_id":"g","messages":[{"role":"user","content":"1"}],"chat_template_kwargs":{"a":"+"}}"#
        let flags = ["--template-arguments", #"{"a": "-", "b": "2"}"#, "--date", "2026-03-05"]
        let found = try sampled(policy, line, flags, to: "dated")
        #expect(found.map(\.prompt) == ["1+20260305=2", "1+20260305=2"])
        // The same again is known; another day's prompts are others.
        #expect(try sample(policy, line, flags, to: "dated").summary["already_done"] as? Bool == true)
        #expect(try sample(policy, line, Array(flags.prefix(2)) + ["--date", "2026-03-06"], to: "dated").status == 5)
        let today = try sample(policy, line, to: "today")
        #expect(today.status == 0 && today.errors.contains("today's date"), "\(today.errors)")
    }

    @Test(arguments: [
        ("{{ raise_exception('no room for ' ~ messages[0].role) }}", "no room for user"),
        ("\n{% include 'x' %}", "line 2: found the statement 'include'"),
    ]) func whatATemplateRefusesIsSaid(_ template: String, _ words: String) throws {
        let policy = try policy(template)
        let result = try sample(policy, #"{"group_id":"g","messages":[{"role":"user","content":"1"}]}"#, to: "out")
        #expect(result.status == 3 && result.errors.contains(words), "\(result.errors)")
        // Prompts that are text need no template.
        #expect(try sample(policy, #"{"group_id":"g","prompt":"1"}"#, to: "text").status == 0)
    }

    @Test(arguments: [
        (#"{"group_id":"g","messages":[]}"#, "messages []"),
        (#"{"group_id":"g","messages":[{"content":"1"}]}"#, "role"),
        (#"{"group_id":"g","prompt":"1","messages":[{"role":"user"}]}"#, "both a prompt and messages"),
        (#"{"group_id":"g","prompt":[1]}"#, "prompt [1]"),
        (#"{"group_id":"g","messages":[{"role":"user"}],"chat_template_kwargs":3}"#, "chat_template_kwargs 3"),
        (#"{"group_id":"g","messages":[{"role":"user"}],"chat_template_kwargs":{"messages":1}}"#, "'messages' among"),
    ]) func linesThatAreNoChatsAreNamed(_ line: String, _ words: String) throws {
        let result = try sample(try policy(), line, to: "out")
        #expect(result.status == 3 && result.errors.contains(words), "\(result.errors)")
        #expect(result.errors.contains("line 1"))
    }

    @Test func optionsThatAreNoneAreNamed() throws {
        let line = #"{"group_id":"g","prompt":"1"}"#
        for (flags, words) in [
            (["--date", "2026-02-30"], "--date is '2026-02-30'"),
            (["--template-arguments", "[1]"], "--template-arguments"),
        ] {
            let result = try sample(fixture("policy"), line, flags, to: "out")
            #expect(result.status == 2 && result.errors.contains(words), "\(result.status) \(result.errors)")
        }
    }

    // MARK: requests

    private static let answer =
        #"{"custom_id":"c","response":{"status_code":200,"body":{"choices":[{"index":0,"message":{"role":"assistant","content":"4"},"finish_reason":"stop","stop_reason":null}]USAGE}}}"#

    private func joined(_ prompt: Int, _ body: String, usage: String? = nil, to name: String) throws
        -> Executable.Result
    {
        let counts = usage ?? #","usage":{"prompt_tokens":\#(prompt),"completion_tokens":2}"#
        let results = Self.answer.replacingOccurrences(of: "USAGE", with: counts)
        let request = #"{"custom_id":"c","body":{\#(body),"temperature":1}}"#
        return try ingest.run([
            "--input", try write([results], to: "results.jsonl"), "--requests",
            try write([request], to: "requests.jsonl"),
            "--tokenizer", try policy(name: name + "-policy"), "--output", folder(name),
        ])
    }

    @Test func aBatchsChatsAreRenderedAndCounted() throws {
        let chat = #""messages":[{"role":"user","content":"2+2=?"}]"#
        // "Q: 2+2=?\nA: " is 12 tokens of one character each.
        let good = try joined(12, chat, to: "good")
        #expect(good.status == 0, "\(good.errors)")
        let row = try rows("good")[0]
        #expect(row.prompt == "Q: 2+2=?\nA: " && row.tokenIDs.suffix(2) == [5, 0] && row.tokenIDs.count == 14)
        #expect(row.lossMask == (0..<14).map { $0 >= 12 })
        let bad = try joined(13, chat, to: "bad")
        #expect(bad.status == 3 && bad.errors.contains("retokenisation_drift"), "\(bad.errors)")
        let silent = try joined(12, chat, usage: "", to: "silent")
        #expect((silent.summary["counts"] as? [String: Int])?["remark_prompt_unchecked"] == 1, "\(silent.errors)")
        let own = try joined(12, chat + #","chat_template":"x""#, to: "own")
        #expect(own.status == 3 && own.errors.contains("chat_template of its own"), "\(own.errors)")
        let going = #""messages":[{"role":"user","content":"2+2=?"},{"role":"assistant","content":"0"}],"#
        let flags = #""add_generation_prompt":false,"continue_final_message":true"#
        let continued = try joined(13, going + flags, to: "continued")
        #expect(continued.status == 0, "\(continued.errors)")
        #expect(try rows("continued")[0].prompt == "Q: 2+2=?\nA: 0")
    }

    // MARK: whole chats

    private func dumped(_ line: String, _ template: String, to name: String) throws -> Executable.Result {
        try ingest.run([
            "--input", try write([line], to: name + ".jsonl"), "--tokenizer",
            try policy(template, name: name + "-policy"),
            "--output", folder(name),
        ])
    }

    private static let two =
        #"{"rollout_id":"r","group_id":"g","reward":1,"messages":[{"role":"user","content":"1+1=?"},{"role":"assistant","content":"2"},{"role":"user","content":"2+2=?"},{"role":"assistant","content":"4"}]}"#

    @Test func theAssistantsTurnsAreFoundByRenderingUpToThem() throws {
        let result = try dumped(Self.two, Self.template, to: "out")
        #expect(result.status == 0, "\(result.errors)")
        let row = try rows("out")[0]
        #expect(row.rolloutID == "r" && row.groupID == "g" && row.givenReward == 1)
        // "Q: 1+1=?\nA: " 12, "2<|endoftext|>" 2, the line's end, "Q: 2+2=?\nA: " 12, "4<|endoftext|>" 2, and one more.
        let trained = row.lossMask.indices.filter { row.lossMask[$0] }
        #expect(
            trained == [12, 13, 27, 28] && trained.map { row.tokenIDs[$0] } == [3, 0, 5, 0] && row.tokenIDs.count == 30)
        #expect((result.summary["counts"] as? [String: Int])?["remark_turn_end_left_out"] == 1)
        // Without a template, or a tokenizer, nothing is known.
        let plain = try ingest.run([
            "--input", folder("out.jsonl"), "--tokenizer", fixture("policy"), "--output", folder("plain"),
        ])
        #expect(plain.status == 3 && plain.errors.contains("with a chat template"), "\(plain.errors)")
        let none = try ingest.run(["--input", folder("out.jsonl"), "--output", folder("none")])
        #expect(none.status == 3 && none.errors.contains("no_token_ids"), "\(none.errors)")
    }

    @Test func marksOfATemplateComeFirst() throws {
        let template =
            "{% for m in messages %}{% if m.role == 'user' %}Q{{ m.content }}{% else %}A{% generation %}{{ m.content }}{% endgeneration %}{% endif %}{% endfor %}"
        let result = try dumped(Self.two, template, to: "out")
        #expect(result.status == 0, "\(result.errors)")
        let row = try rows("out")[0]
        #expect(row.lossMask.indices.filter { row.lossMask[$0] } == [7, 15] && row.tokenIDs[7] == 3)
    }

    @Test(arguments: [
        // Turns that change when others follow.
        (
            "{% for m in messages %}{{ m.content if loop.last or m.role == 'user' else '-' }}{% endfor %}",
            "no beginning of the whole"
        ),
        // A header that nobody opened.
        (
            "{% for m in messages %}{{ 'Q' if m.role == 'user' else 'A' }}{{ m.content }}{% endfor %}",
            "add_generation_prompt"
        ),
        (
            "{% macro t(x) %}{% generation %}{{ x }}{% endgeneration %}{% endmacro %}{{ t(messages[1].content) }}",
            "a macro or a captured block"
        ),
    ]) func turnsThatCanNotBeToldAreRefused(_ template: String, _ words: String) throws {
        let result = try dumped(Self.two, template, to: "out")
        #expect(result.status == 3 && result.errors.contains(words), "\(result.errors)")
    }
}
