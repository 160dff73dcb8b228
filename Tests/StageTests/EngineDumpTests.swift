import Arrow
import Formats
import Foundation
import TestSupport
import Testing
import Tokenizer

/// What real engines' dumps hold beside the ordinary: inputs that were misread once (`fixtures/cases`), and others of
/// their kinds.
@Suite struct EngineDumpTests {
    private let folder: TemporaryDirectory
    private static let policy = ["--tokenizer", fixture("policy")]

    init() throws { folder = try TemporaryDirectory() }

    private func read(_ inputs: [String], _ more: [String] = [], to name: String = "out") throws -> DumpReading {
        try DumpReading(inputs, more, to: folder(name))
    }

    private func readCase(_ name: String, _ more: [String] = [], file: String = "in.jsonl") throws -> DumpReading {
        try read([fixture("cases/\(name)/\(file)")], more)
    }

    private func read(lines: [String], _ more: [String] = [], to name: String = "out") throws -> DumpReading {
        try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: URL(fileURLWithPath: folder("\(name).jsonl")))
        return try read([folder("\(name).jsonl")], more, to: name)
    }

    private static let good =
        #"{"input_ids":[17,16],"text":"4","output_ids":[5,0],"meta_info":{"id":"good","finish_reason":{"type":"stop","matched":0}}}"#

    // MARK: what stopped it

    @Test func whatStoppedARolloutIsRead() throws {
        let reading = try readCase("A01-stop-string", Self.policy)
        // "42" is [5, 3]; of "42\n" there are three tokens, as many as were sampled; of "</answer>" nobody knows how
        // many.
        #expect(
            reading.rows.map(\.tokenIDs) == [[5, 5, 3, 20], [5, 5, 3, 13], [5, 5, 3], [5, 5, 3], [5, 5, 3]],
            "\(reading.result.errors)")
        #expect(reading.rows.map(\.rolloutID) == ["vllm-string", "vllm-other-id", "vllm-n2-0", "vllm-n2-1", "sglang"])
        #expect(
            reading.counts["remark_stop_string_left_out"] == 3 && reading.result.errors.contains("return_token_ids"))
        #expect(
            reading.rows[0].extras.contains(#""stop_reason":"\n""#)
                && reading.rows[1].extras.contains(#""stop_reason":"13""#))
    }

    struct Stop: Sendable, CustomTestStringConvertible {
        let what: String
        /// Behind `"text":"42",` of a choice.
        let choice: String
        var usage = ""
        /// Behind the prompt, 17; nil: rejected so.
        var tokens: [Int32]?
        var reason = ""
        var remark: String?
        var testDescription: String { what }
    }

    static let stops = [
        Stop(
            what: "the end-of-sequence token", choice: #""finish_reason":"stop","stop_reason":null"#, tokens: [5, 3, 0]),
        Stop(
            what: "it is counted", choice: #""finish_reason":"stop","stop_reason":null"#,
            usage: #","usage":{"completion_tokens":3}"#, tokens: [5, 3, 0]),
        Stop(
            what: "it can't have been", choice: #""finish_reason":"stop","stop_reason":null"#,
            usage: #","usage":{"completion_tokens":2}"#, reason: "retokenisation_drift"),
        Stop(what: "nobody says", choice: #""finish_reason":"stop""#, tokens: [5, 3], remark: "stop_token_unknown"),
        Stop(
            what: "the count says", choice: #""finish_reason":"stop""#, usage: #","usage":{"completion_tokens":3}"#,
            tokens: [5, 3, 0]),
        Stop(
            what: "the count says not", choice: #""finish_reason":"stop""#, usage: #","usage":{"completion_tokens":2}"#,
            tokens: [5, 3]),
        Stop(what: "a token", choice: #""finish_reason":"stop","stop_reason":20"#, tokens: [5, 3, 20]),
        Stop(
            what: "a string, nothing counted", choice: #""finish_reason":"stop","stop_reason":"\n""#, tokens: [5, 3],
            remark: "stop_string_left_out"),
        Stop(what: "a string left in the text", choice: #""finish_reason":"stop","stop_reason":"2""#, tokens: [5, 3]),
        Stop(
            what: "fewer than the text has", choice: #""finish_reason":"stop","stop_reason":"\n""#,
            usage: #","usage":{"completion_tokens":1}"#, reason: "retokenisation_drift"),
        Stop(
            what: "the length", choice: #""finish_reason":"length","stop_reason":null"#,
            usage: #","usage":{"completion_tokens":2}"#, tokens: [5, 3]),
    ]

    @Test(arguments: stops) func whatStoppedATextSaysWhichTokenFollows(_ stop: Stop) throws {
        let line =
            #"{"custom_id":"a","prompt_token_ids":[17],"choices":[{"index":0,"text":"42",\#(stop.choice)}]\#(stop.usage)}"#
        let reading = try read(lines: [Self.good, line], Self.policy)
        if let tokens = stop.tokens {
            #expect(try reading.row("a").tokenIDs == [17] + tokens, "\(reading.result.errors)")
        } else {
            #expect(reading.rejected.map(\.reason) == [stop.reason] && reading.rejected.map(\.rolloutID) == ["a"])
        }
        for remark in ["stop_token_unknown", "stop_string_left_out"] {
            #expect((reading.counts["remark_" + remark] == 1) == (stop.remark == remark))
        }
    }

    /// A checkpoint with several end-of-sequence ids: engines call the tokenizer's own null and name any other.
    @Test func severalEndTokensAreToldApart() throws {
        let checkpoint = try folder.folder("checkpoint")
        for name in ["tokenizer.json", "config.json"] {
            try FileManager.default.copyItem(atPath: fixture("policy/" + name), toPath: checkpoint + "/" + name)
        }
        try writeBytes(Array(#"{"eos_token_id":[13,0,20]}"#.utf8), to: checkpoint + "/generation_config.json")
        let lines = [
            #"{"custom_id":"null","prompt_token_ids":[17],"choices":[{"text":"42","finish_reason":"stop","stop_reason":null}],"usage":{"completion_tokens":3}}"#,
            #"{"custom_id":"named","prompt_token_ids":[17],"choices":[{"text":"42","finish_reason":"stop","stop_reason":20}],"usage":{"completion_tokens":3}}"#,
            #"{"text":"42","input_ids":[17],"meta_info":{"id":"matched","finish_reason":{"type":"stop","matched":13},"completion_tokens":3}}"#,
        ]
        // Without the tokenizer's word it may have been any of three.
        let open = try read(lines: lines, ["--tokenizer", checkpoint], to: "open")
        #expect(
            open.rejected.map(\.reason) == ["unknown_stop_token"] && open.rejected[0].detail.contains("0, 13, 20"),
            "\(open.rejected)")
        #expect(open.rows.map(\.tokenIDs) == [[17, 5, 3, 20], [17, 5, 3, 13]])
        try writeBytes(
            Array(#"{"eos_token":{"content":"<|endoftext|>"}}"#.utf8), to: checkpoint + "/tokenizer_config.json")
        #expect(
            try read(lines: lines, ["--tokenizer", checkpoint], to: "told").rows.map(\.tokenIDs) == [
                [17, 5, 3, 0], [17, 5, 3, 20], [17, 5, 3, 13],
            ])
    }

    /// The count is that of all choices of a line together.
    @Test(
        arguments: [(5, [[5, 3, 0], [5]], ""), (3, [[5, 3], [5]], ""), (9, [], "retokenisation_drift")]
            as [(Int, [[Int32]], String)])
    func aCountOfAllChoicesIsHeldAgainstTheirTexts(_ total: Int, _ tokens: [[Int32]], _ reason: String) throws {
        let line =
            #"{"custom_id":"a","prompt_token_ids":[17],"choices":[{"index":0,"text":"42","finish_reason":"stop"},{"index":1,"text":"4","finish_reason":"#
            + #""\#(total == 5 ? "stop" : "length")"}],"usage":{"completion_tokens":\#(total)}}"#
        let reading = try read(lines: [Self.good, line], Self.policy)
        let expected = total == 5 ? [[5, 3, 0], [5, 0]] : tokens
        #expect(reading.rows.dropFirst().map { Array($0.tokenIDs.dropFirst()) } == expected, "\(reading.rejected)")
        #expect(reading.rejected.map(\.reason) == (reason.isEmpty ? [] : [reason, reason]))
    }

    // MARK: echo, choices, prompts

    @Test func anEchoedPromptIsNoPartOfTheAnswer() throws {
        let reading = try readCase("A03-echo")
        let row = try reading.row("a")
        #expect(row.tokenIDs == [5, 6, 7, 10, 11, 0] && row.lossMask == [false, false, false, true, true, true])
        #expect(row.rolloutLogprobs == [0, 0, 0, -0.1, -0.2, -0.3] && row.completion.isEmpty)
        #expect(reading.counts["remark_completion_unknown"] == 1 && reading.result.errors.contains("--tokenizer"))
        let told = try read([fixture("cases/A03-echo/in.jsonl")], Self.policy, to: "told")
        #expect(
            try told.row("a").completion == Tokenizer(path: fixture("policy")).decode([10, 11, 0])
                && told.counts["remark_completion_unknown"] == nil)
    }

    /// vLLM repeats the prompt in text and log-probabilities, other servers in the ids too; what may begin like the
    /// prompt need not be it.
    @Test func whereThePromptIsEchoedTheCountsSay() throws {
        func line(_ id: String, ids: [Int], logprobs: [String], count: Int?, text: String = "Q42", more: String = "")
            -> String
        {
            #"{"custom_id":"\#(id)","prompt":"Q","prompt_token_ids":[17]\#(more),"choices":[{"text":"\#(text)","finish_reason":"length","token_ids":\#(ids),"#
                + #""logprobs":{"tokens":\#(logprobs.indices.map { "t\($0)" }),"token_logprobs":[\#(logprobs.joined(separator: ","))]}}]"#
                + (count.map { #","usage":{"completion_tokens":\#($0)}"# } ?? "") + "}"
        }
        let lines = [
            line("text-and-logprobs", ids: [5, 3], logprobs: ["null", "-1", "-2"], count: 2),
            // vLLM leaves the prompt out of the text where it returns ids.
            line("logprobs", ids: [5, 3], logprobs: ["null", "-1", "-2"], count: 2, text: "42"),
            line("all", ids: [17, 5, 3], logprobs: ["null", "-1", "-2"], count: 2),
            line("uncounted", ids: [17, 5, 3], logprobs: ["null", "-1", "-2"], count: nil),
            line("asked", ids: [17, 5, 3], logprobs: ["0", "-1", "-2"], count: nil, more: #","echo":true"#),
            line("alike", ids: [17, 3], logprobs: ["-1", "-2"], count: 2, text: "Q2"),
            line("wrong", ids: [17, 5, 3, 3], logprobs: ["-1", "-2", "-1", "-1"], count: 2),
        ]
        let reading = try read(lines: lines)
        for id in ["text-and-logprobs", "logprobs", "all", "uncounted", "asked"] {
            let row = try reading.row(id)
            #expect(
                row.tokenIDs == [17, 5, 3] && row.rolloutLogprobs == [0, -1, -2] && row.completion == "42", "\(row)")
        }
        #expect(try reading.row("alike").tokenIDs == [17, 17, 3] && reading.row("alike").completion == "Q2")
        #expect(
            reading.rejected.map(\.reason) == ["token_count_mismatch"] && reading.rejected.map(\.rolloutID) == ["wrong"]
        )
        // Text alone tells where it ends.
        let byText =
            #"{"custom_id":"a","prompt_token_ids":[17,16],"choices":[{"text":"Q:42","finish_reason":"length","#
            + #""logprobs":{"tokens":["Q",":","4","2"],"token_logprobs":[null,-1,-1,-2]}}],"usage":{"completion_tokens":2}}"#
        let row = try read(lines: [byText], Self.policy, to: "text").row("a")
        #expect(row.tokenIDs == [17, 16, 5, 3] && row.completion == "42" && row.rolloutLogprobs == [0, 0, -1, -2])
    }

    @Test func promptsOfALineAreGroupsOfTheirOwn() throws {
        let reading = try readCase("A04-batched-prompts")
        #expect(
            reading.rows.map(\.rolloutID) == ["q-0", "q-1", "q-2", "q-3"]
                && reading.rows.map(\.sampleIndex) == [0, 1, 0, 1])
        #expect(reading.rows.map(\.groupID) == ["q/0", "q/0", "q/1", "q/1"])
        #expect(reading.rows.map { Array($0.tokenIDs.prefix(2)) } == [[5, 6], [5, 6], [8, 9], [8, 9]])
    }

    /// SGLang answers several prompts, or `n` above 1, with a list.
    @Test func aListOfAnswersIsAllOfThem() throws {
        let answers = (0..<3).map {
            #"{"text":"4","input_ids":[\#(17 + $0 / 2)],"output_ids":[5],"meta_info":{"id":"r\#($0)","completion_tokens":1}}"#
        }
        let reading = try read(lines: ["[" + answers.joined(separator: ", ") + "]", Self.good])
        #expect(reading.rows.map(\.rolloutID) == ["r0", "r1", "r2", "good"])
        #expect(
            reading.rows[0].groupID == reading.rows[1].groupID && reading.rows[1].groupID != reading.rows[2].groupID)
    }

    @Test func choicesAreKnownByTheirIndex() throws {
        let line =
            #"{"custom_id":"a","prompt":[17],"reward":[0,1],"choices":[{"index":1,"text":"5","token_ids":[6]},{"index":0,"text":"4","token_ids":[5]}]}"#
        let reading = try read(lines: [line])
        #expect(
            reading.rows.map(\.rolloutID) == ["a-0", "a-1"] && reading.rows.map(\.completion) == ["4", "5"]
                && reading.rows.map(\.givenReward) == [0, 1])
    }

    @Test func whatAParserTookApartIsOneResponse() throws {
        func line(_ id: String, _ message: String, _ ids: String) -> String {
            #"{"custom_id":"\#(id)","prompt_token_ids":[17],"choices":[{"message":{"role":"assistant",\#(message)},"finish_reason":"stop","stop_reason":null\#(ids)}]}"#
        }
        let ids = #","token_ids":[5,3,0]"#
        let lines = [
            line("vllm", #""reasoning":"4","content":"2""#, ids),
            line("older", #""reasoning_content":"42","content":null"#, ids),
            line("tool", #""content":null,"tool_calls":[{"id":"c"}]"#, ids),
            line("parts", #""content":[{"type":"text","text":"42"}]"#, ids),
            line("text", #""reasoning":"4","content":"2""#, ""),
        ]
        let reading = try read(lines: lines)
        #expect(
            reading.rows.map(\.completion) == ["42", "42", "", "42"]
                && reading.rows.allSatisfy { $0.tokenIDs == [17, 5, 3, 0] })
        #expect(reading.rejected.map(\.reason) == ["no_token_ids"] && reading.rejected[0].detail.contains("parser"))
        #expect(try read(lines: lines, Self.policy, to: "told").rows.map(\.completion) == ["42", "42", "42", "42"])
    }

    // MARK: rollouts that were given up

    @Test func whatAnEngineGaveUpIsNoRollout() throws {
        let reading = try readCase("A05-abort")
        #expect(reading.rows.map(\.rolloutID) == ["a", "d"] && reading.rejected.map(\.rolloutID) == ["b", "c"])
        #expect(
            reading.rejected.map(\.reason) == ["engine_error", "engine_error"]
                && reading.rejected[0].detail.contains("'abort'"))
        let others = try read(
            lines: [
                Self.good,
                #"{"text":"","input_ids":[1],"output_ids":[],"meta_info":{"id":"sglang","finish_reason":{"type":"abort","message":"out of memory"}}}"#,
                #"{"text":"4","input_ids":[1],"output_ids":[5],"meta_info":{"id":"older","finish_reason":"abort"}}"#,
                #"{"custom_id":"text","prompt":"Q","choices":[{"text":"4","finish_reason":"error"},{"text":"4","finish_reason":"length"}]}"#,
            ], Self.policy, to: "others")
        #expect(
            others.rejected.map(\.reason) == ["engine_error", "engine_error", "engine_error"]
                && others.rejected[0].detail.contains("out of memory"))
        #expect(
            others.rejected.map(\.rolloutID) == ["sglang", "older", "text-0"]
                && others.rows.map(\.rolloutID) == ["good", "text-1"])
    }

    @Test func everyWayOfBeingCutOffIsTruncated() throws {
        let pipeline = try Pipeline()
        let ends = ["stop", "length", "max_tokens", "repetition", "content_filter", "tool_calls", "weary"]
        let lines = ends.enumerated().map { index, end in
            #"{"custom_id":"\#(end)","prompt":[17],"group_id":"g","reward":\#(index % 2),"choices":[{"text":"4","token_ids":[5],"finish_reason":"\#(end)","#
                + #""logprobs":{"tokens":["4"],"token_logprobs":[-0.5]}}]}"#
        }
        try writeBytes(Array(lines.joined(separator: "\n").utf8), to: folder("x.jsonl"))
        try pipeline.ingest(folder("x.jsonl"))
        #expect(try Manifest(pipeline.folder("ingest")).counts["remark_finish_reason_unknown"] == 1)
        try pipeline.score(["--reward", "given"])
        let result = try pipeline.runPlan(repositoryRoot + "/recipes/grpo.yaml", ["--set", "filter.truncated=drop"])
        #expect(result.status == 0, "\(result.errors)")
        let kept = try ArrowTableReader(path: pipeline.folder("plan") + "/plan.arrow", table: Tables.plan).rows().map(
            \.rolloutID)
        #expect(kept.sorted() == ["stop", "tool_calls", "weary"])
    }

    private struct Manifest: Decodable {
        let counts: [String: Int]
        init(_ directory: String) throws {
            self = try JSONDecoder().decode(
                Manifest.self, from: Data(contentsOf: URL(fileURLWithPath: directory + "/manifest.json")))
        }
    }

    // MARK: numbers that are none

    @Test func entriesThatAreNoNumbersCostThemselvesAlone() throws {
        let reading = try readCase("A06-nan-infinity", Self.policy)
        #expect(reading.rows.map(\.rolloutID) == ["top-neginf", "in-2", "sg"], "\(reading.result.errors)")
        #expect(reading.rows.map(\.evidence) == ["topk", "none", "topk"] && reading.rows[1].givenReward == nil)
        #expect(reading.rejected.map(\.reason) == ["invalid_logprob"] && reading.rejected[0].rolloutID == "nan")
        #expect(
            reading.rejected[0].detail.contains("NaN at position 1")
                || reading.rejected[0].detail.contains("nan at position 1"), "\(reading.rejected[0].detail)")
        #expect(reading.counts["remark_reward_unusable"] == 1)
        let kept = try read(
            [fixture("cases/A06-nan-infinity/in.jsonl")], Self.policy + ["--invalid-logprobs", "drop"], to: "kept")
        #expect(kept.rejected.isEmpty && kept.counts["remark_logprobs_dropped"] == 1)
        #expect(try kept.row("nan").rolloutLogprobs == nil && kept.row("nan").tokenIDs == [5, 6, 7, 10, 11, 3])
    }

    /// A line of each dialect with three sampled tokens, `ids` and `logprobs` as JSON; its rollout is "x".
    static let dialectLines: [@Sendable (_ ids: String, _ logprobs: [String]) -> String] = [
        { ids, logprobs in
            let tokens = logprobs.map { _ in #""t""# }.joined(separator: ",")
            return
                #"{"custom_id":"x","prompt":[17],"choices":[{"text":"4","finish_reason":"length","token_ids":\#(ids),"logprobs":"#
                + #"{"tokens":[\#(tokens)],"token_logprobs":[\#(logprobs.joined(separator: ","))]}}]}"#
        },
        { ids, logprobs in
            let entries = logprobs.map { #"{"token":"t","logprob":\#($0)}"# }.joined(separator: ",")
            return
                #"{"custom_id":"x","prompt_token_ids":[17],"choices":[{"message":{"role":"assistant","content":"4"},"finish_reason":"length","token_ids":\#(ids),"#
                + #""logprobs":{"content":[\#(entries)]}}]}"#
        },
        { ids, logprobs in
            let triples = logprobs.map { "[\($0),5,null]" }.joined(separator: ",")
            return
                #"{"text":"4","input_ids":[17],"output_ids":\#(ids),"meta_info":{"id":"x","finish_reason":{"type":"length"},"output_token_logprobs":[\#(triples)]}}"#
        },
        { ids, logprobs in
            #"{"schema_version":1,"run_id":"x","step":1,"rank":0,"export_sequence_idx":0,"token_ids":[17,\#(ids.dropFirst()),"loss_mask":[0,1,1,1],"#
                + #""inference_logprobs":[\#((["0"] + logprobs).joined(separator: ","))]}"#
        },
    ]

    private static let names = ["x", "x", "x", "x-step-1-rank-0-0"]
    private static let whole = ["-0.5", "-0.5", "-0.5"]

    @Test func idsThatAreNoneAreNamed() throws {
        for (name, file, ids) in [
            ("A14-float-ids", "in.jsonl", ["f", "b", "h"]), ("faults/json-token-id-wraps", "a.jsonl", ["a", "b", "c"]),
        ] {
            let lines = try String(contentsOfFile: fixture("cases/\(name)/\(file)"), encoding: .utf8).split(
                separator: "\n"
            ).map(String.init)
            let reading = try read(lines: [Self.good] + lines, to: ids[0])
            #expect(
                reading.rows.map(\.rolloutID) == ["good"] && reading.rejected.map(\.rolloutID) == ids,
                "\(reading.rejected)")
            #expect(reading.rejected.allSatisfy { $0.reason == "invalid_token_id" && $0.detail.contains("token_ids") })
        }
    }

    @Test(arguments: [
        "11.7", "11.0", "true", "-1", "2147483648", "18446744073709551617", #""7""#, "null", "NaN", "[7]", "1e1",
    ])
    func idsThatAreNoneGetTheSameAnswerInEveryDialect(_ bad: String) throws {
        for (number, line) in Self.dialectLines.enumerated() {
            let reading = try read(lines: [Self.good, line("[5,\(bad),3]", Self.whole)], to: "d\(number)")
            #expect(
                reading.rows.map(\.rolloutID) == ["good"] && reading.rejected.map(\.reason) == ["invalid_token_id"],
                "\(reading.rejected)")
            #expect(reading.rejected[0].rolloutID == Self.names[number] && reading.rejected[0].detail.contains(bad))
        }
    }

    @Test(arguments: ["NaN", "Infinity", "-Infinity", "null", "-9999.0", "0.5", #""-0.5""#, "true"])
    func logProbabilitiesThatAreNoneGetTheSameAnswerInEveryDialect(_ bad: String) throws {
        for (number, line) in Self.dialectLines.enumerated() {
            let lines = [Self.good, line("[5,4,3]", ["-0.5", bad, "-0.5"])]
            let reading = try read(lines: lines, to: "d\(number)")
            #expect(
                reading.rows.map(\.rolloutID) == ["good"] && reading.rejected.map(\.reason) == ["invalid_logprob"],
                "\(reading.rejected)")
            #expect(
                reading.rejected[0].rolloutID == Self.names[number] && reading.rejected[0].detail.contains("position 1")
            )
            let kept = try read(lines: lines, ["--invalid-logprobs", "drop"], to: "kept\(number)")
            #expect(
                kept.rows.count == 2 && kept.rows.last?.rolloutLogprobs == nil
                    && kept.rows.last?.tokenIDs.suffix(3) == [5, 4, 3])
            #expect(kept.counts["remark_logprobs_dropped"] == 1 && kept.result.errors.contains("--checkpoint"))
        }
    }

    @Test(arguments: [["-0.5", "-0.5"], ["-0.5", "-0.5", "-0.5", "-0.5", "-0.5"]])
    func lengthsThatDifferGetTheSameAnswerInEveryDialect(_ logprobs: [String]) throws {
        for (number, line) in Self.dialectLines.enumerated() {
            let reading = try read(lines: [Self.good, line("[5,4,3]", logprobs)], to: "d\(number)")
            #expect(
                reading.rejected.map(\.reason) == ["length_mismatch"]
                    && reading.rejected[0].rolloutID == Self.names[number], "\(reading.rejected)")
        }
        let line = try String(contentsOfFile: fixture("cases/A08-prime-rl-short/in.jsonl"), encoding: .utf8).split(
            separator: "\n"
        ).map(String.init)
        let short = try read(lines: [Self.good] + line, to: "case")
        #expect(
            short.rejected.map(\.reason) == ["length_mismatch"]
                && short.rejected.map(\.rolloutID) == ["step-3-rank-0-0"])
    }

    @Test func shardsGetTheSameAnswer() throws {
        let bad: [Float] = [-9999, .nan, .infinity, -.infinity, 0.5]
        let rollouts = bad.enumerated().map { index, value in
            TinyRollout(id: "bad-\(index)").changed { $0.frame.rolloutLogprobs?[3] = value }
        }
        try writeShard([TinyRollout(id: "good")] + rollouts, to: folder("x.rollouts.zst"))
        let reading = try read([folder("x.rollouts.zst")])
        #expect(
            reading.rows.map(\.rolloutID) == ["good"]
                && reading.rejected.map(\.reason) == bad.map { _ in "invalid_logprob" })
        #expect(reading.rejected.allSatisfy { $0.detail.contains("position 3") })
        let kept = try read([folder("x.rollouts.zst")], ["--invalid-logprobs", "drop"], to: "kept")
        #expect(
            kept.rows.count == 6 && kept.rows.count { $0.rolloutLogprobs == nil } == 5
                && kept.counts["remark_logprobs_dropped"] == 5)
    }

    /// Engines' own counts are held against the ids.
    @Test func idsThatTheEngineDidNotCountAreNamed() throws {
        let lines = [
            Self.good,
            #"{"custom_id":"a","prompt":[17],"choices":[{"text":"4","token_ids":[5,3]}],"usage":{"completion_tokens":3}}"#,
            #"{"custom_id":"b","prompt":[17],"choices":[{"index":0,"text":"4","token_ids":[5]},{"index":1,"text":"4","token_ids":[5]}],"usage":{"completion_tokens":3}}"#,
            #"{"text":"4","input_ids":[17],"output_ids":[5,3],"meta_info":{"id":"c","completion_tokens":1}}"#,
            #"{"custom_id":"d","prompt":[17],"choices":[{"text":"4","token_ids":[5]}],"usage":{"completion_tokens":1,"prompt_tokens":4}}"#,
        ]
        let reading = try read(lines: lines)
        #expect(
            reading.rejected.map(\.rolloutID) == ["a", "b-0", "b-1", "c", "d"]
                && reading.rejected.allSatisfy { $0.reason == "token_count_mismatch" })
        // A driver that kept the whole sequence: the prompt is in front.
        let whole = #"{"text":"4","input_ids":[17],"output_ids":[17,5],"meta_info":{"id":"e","completion_tokens":1}}"#
        #expect(try read(lines: [whole], to: "whole").row("e").tokenIDs == [17, 5])
    }

    // MARK: text, names

    @Test func aLoneSurrogateCostsItselfAlone() throws {
        let reading = try readCase("A10-surrogate")
        #expect(try reading.row("a").completion == "cut \u{fffd}" && reading.row("a").tokenIDs == [5, 1, 2])
        #expect(reading.counts["remark_broken_text"] == 1 && reading.result.errors.contains("surrogates"))
        let names = try read(
            lines: [#"a\ud83d"#, #"a\ude00"#].map {
                #"{"custom_id":"\#($0)","prompt":[1],"choices":[{"text":"4","token_ids":[5]}]}"#
            }, to: "names")
        #expect(names.rows.map(\.rolloutID) == [#"a\ud83d"#, #"a\ude00"#])
    }

    @Test func aDamagedLineKeepsItsID() throws {
        let reading = try read(lines: [
            Self.good, #"{"custom_id":"a","choices":[{"text":"4""#, #"{"meta_info":{"id":"b"},"text":nul}"#,
            #"{"custom_id":"c","body":{}}"#,
        ])
        #expect(
            reading.rejected.map(\.rolloutID) == ["a", "b", "c"]
                && reading.rejected.map(\.reason) == ["damaged_line", "damaged_line", "unknown_dialect"])
        let deep =
            #"{"custom_id":"d","prompt":[17],"choices":[{"text":"4","token_ids":[5]}],"deep":\#(String(repeating: "[", count: 100_000))"#
        #expect(
            try read(lines: [Self.good, deep + String(repeating: "]", count: 100_000) + "}"], to: "deep").counts[
                "remark_nesting_cut"] == 1)
        #expect(try read(lines: [Self.good, deep], to: "open").rejected.map(\.rolloutID) == ["d"])
    }

    /// Canonically equivalent names are different ones, from end to end.
    @Test func namesAreToldApartByTheirBytes() throws {
        let ids = try readCase("A11-canonical-equality", file: "ids.jsonl")
        #expect(
            ids.rows.map { Array($0.rolloutID.utf8) } == ["caf\u{e9}-1", "cafe\u{301}-1"].map { Array($0.utf8) }
                && ids.rejected.isEmpty)
        let pipeline = try Pipeline()
        try pipeline.ingest(fixture("cases/A11-canonical-equality/in.jsonl"))
        try pipeline.score(["--reward", "given"])
        try pipeline.plan(repositoryRoot + "/recipes/grpo.yaml")
        let plan = try ArrowTableReader(path: pipeline.folder("plan") + "/plan.arrow", table: Tables.plan).rows()
        let groups = Dictionary(grouping: plan) { Array($0.groupID.utf8) }
        #expect(groups.count == 2 && groups.values.allSatisfy { $0.count == 2 })
        #expect(Set(groups.keys) == Set(["Qu\u{e8} \u{e9}s 2+2?", "Que\u{300} e\u{301}s 2+2?"].map { Array($0.utf8) }))
        // Over two files, the one behind the other.
        let lines = try String(contentsOfFile: fixture("cases/A11-canonical-equality/ids.jsonl"), encoding: .utf8)
            .split(separator: "\n").map { String($0) + "\n" }
        for (name, line) in zip(["0.jsonl", "1.jsonl"], lines) { try writeBytes(Array(line.utf8), to: folder(name)) }
        #expect(try read([folder("0.jsonl"), folder("1.jsonl")], to: "two").rows.count == 2)
    }

    @Test func filesOfOneNameStayApart() throws {
        let line = #"{"input":"Q","output":"4","score":1,"step":1}"# + "\n"
        for name in ["a/x.jsonl", "b/x.jsonl", "a/y.jsonl", "b/y.json", "b/y.jsonl"] {
            _ = try folder.folder(String(name.prefix(1)))
            try writeBytes(Array((line + "rubbish\n").utf8), to: folder(name))
        }
        func names(_ files: [String], to name: String) throws -> (ids: [String], shards: [String]) {
            let reading = try read(files.map { folder($0) }, Self.policy, to: name)
            return (reading.rows.map(\.rolloutID), reading.rejected.map(\.shard))
        }
        let folders = try names(["a/x.jsonl", "b/x.jsonl", "a/y.jsonl"], to: "folders")
        #expect(folders.ids == ["a/x-0", "b/x-0", "y-0"] && folders.shards == ["a/x.jsonl", "b/x.jsonl", "y.jsonl"])
        let endings = try names(["b/y.json", "b/y.jsonl"], to: "endings")
        #expect(endings.ids == ["y.json-0", "y.jsonl-0"] && endings.shards == ["y.json", "y.jsonl"])
    }
}
