import Arrow
import Formats
import Foundation
import TestSupport
import Testing

/// What engines say beside tokens and log-probabilities, and dumps that are no lines of an engine's own.
@Suite struct EngineExtrasTests {
    private let folder: TemporaryDirectory
    private static let policy = ["--tokenizer", fixture("policy")]

    init() throws { folder = try TemporaryDirectory() }

    private func read(_ text: String, as file: String = "x.jsonl", _ more: [String] = [], to name: String = "out")
        throws -> DumpReading
    {
        try writeBytes(Array(text.utf8), to: folder(file))
        return try DumpReading([folder(file)], more, to: folder(name))
    }

    private func read(lines: [String], _ more: [String] = [], to name: String = "out") throws -> DumpReading {
        try read(lines.joined(separator: "\n") + "\n", more, to: name)
    }

    // MARK: routed experts

    /// Three tokens were fed, of two layers and two experts each.
    private static let chosen: [[[UInt16]]] = [[[1, 2], [3, 4]], [[5, 6], [7, 8]], [[9, 10], [11, 300]]]

    private static func npy(_ rows: [[[UInt16]]]) -> String {
        let header = "{'descr': '<u2', 'fortran_order': False, 'shape': (\(rows.count), 2, 2), }\n"
        let numbers = rows.flatMap { $0 }.flatMap { $0 }.flatMap { [UInt8($0 & 0xff), UInt8($0 >> 8)] }
        return Data([0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(header.utf8.count), 0] + Array(header.utf8) + numbers)
            .base64EncodedString()
    }

    private static func raw(_ rows: [[[UInt16]]]) -> String {
        Data(rows.flatMap { $0 }.flatMap { $0 }.flatMap { [UInt8($0 & 0xff), UInt8($0 >> 8), 0, 0] })
            .base64EncodedString()
    }

    private static func vllm(_ id: String, _ experts: String) -> String {
        #"{"custom_id":"\#(id)","prompt_token_ids":[17,16],"choices":[{"index":0,"text":"4","token_ids":[5,0],"finish_reason":"stop",\#(experts)}]}"#
    }

    @Test func routedExpertsAreCarriedFromEitherEngine() throws {
        let whole = #""routed_experts":"\#(Self.npy(Self.chosen))""#
        let split =
            #""prompt_routed_experts":"\#(Self.npy(Array(Self.chosen.prefix(2))))","routed_experts":"\#(Self.npy(Array(Self.chosen.suffix(1))))""#
        let late = #""routed_experts":"\#(Self.npy(Array(Self.chosen.suffix(2))))","routed_experts_prompt_start":1"#
        let sglang =
            #"{"text":"4","input_ids":[17,16],"output_ids":[5,0],"meta_info":{"id":"sglang","finish_reason":{"type":"stop"},"routed_experts":"\#(Self.raw(Self.chosen))"}}"#
        let reading = try read(
            lines: [Self.vllm("whole", whole), Self.vllm("split", split), Self.vllm("late", late), sglang],
            ["--routed-experts", "2x2"])
        #expect(
            reading.rows.map(\.routedExpertsShape) == [[3, 2, 2, 0], [3, 2, 2, 0], [2, 2, 2, 1], [3, 2, 2, 0]],
            "\(reading.rejected)")
        for row in reading.rows {
            let experts = try #require(row.routes)
            #expect(experts[1, 1].map(Array.init) == [7, 8] && experts[2, 1].map(Array.init) == [11, 300])
            // The last token was never fed; what was skipped is not known.
            #expect(experts[3, 0] == nil && (experts[0, 0] == nil) == (row.rolloutID == "late"))
        }
        // Without a checkpoint nothing is routed.
        let scored = try Executable("crux-score").run(["--input", folder("out"), "--output", folder("score")])
        #expect(scored.status == 0, "\(scored.errors)")
        let without = try read(lines: [sglang], to: "without")
        #expect(
            without.rows[0].routes == nil && without.counts["remark_experts_without_shape"] == 1
                && without.result.errors.contains("--routed-experts"))
    }

    @Test func routedExpertsThatAreNoneAreNamed() throws {
        func line(_ rows: [[[UInt16]]]) -> String {
            Self.vllm("x", #""routed_experts":"\#(Self.npy(rows))""#)
        }
        let good = Self.vllm("good", #""routed_experts":"\#(Self.npy(Self.chosen))""#)
        var twice = Self.chosen
        twice[1][1] = [7, 7]
        // A layer of zeros throughout has no experts.
        let dense = Self.chosen.map { [[0, 0], $0[1]] }
        #expect(try read(lines: [line(dense)], to: "dense").rows.map(\.routedExpertsShape) == [[3, 2, 2, 0]])
        for (number, (bad, reason, words)) in [
            (line(twice), "invalid_value", "expert 7 twice for token 1 in layer 1"),
            (line(Array(Self.chosen.prefix(2))), "length_mismatch", "up to token 2"),
            (line(Self.chosen.map { $0.map { _ in [0, 0] } }), "invalid_value", "zero in every layer"),
            (Self.vllm("x", #""routed_experts":"AAAA""#), "invalid_value", "no .npy file"),
            (Self.vllm("x", #""routed_experts":"***""#), "invalid_value", "base64"),
        ].enumerated() {
            let reading = try read(lines: [good, bad], to: "bad\(number)")
            #expect(reading.rejected.map(\.reason) == [reason], "\(reading.rejected)")
            #expect(reading.rejected.first?.detail.contains(words) == true, "\(reading.rejected)")
        }
        for bad in ["2", "2x", "0x2", "2x2x2"] {
            let refused = try ingest.run(
                ["--input", folder("x.jsonl"), "--output", folder("no"), "--routed-experts", bad])
            #expect(refused.status == 2)
        }
    }

    // MARK: masks, modes

    @Test func aSamplingMaskMayBeOffsets() throws {
        func line(_ offsets: String) -> String {
            Self.vllm("a", #""sampling_mask":{"token_ids":[5,6,0],"offsets":\#(offsets)}"#)
        }
        let rows = try read(lines: [line("[0,2,3]")]).rows
        #expect(rows[0].supportTokenIDs == [5, 6, 0] && rows[0].supportOffsets == [0, 2, 3])
        let bad = try read(lines: [Self.vllm("good", #""x":1"#), line("[0,2,4]")], to: "bad")
        #expect(bad.rejected.map(\.reason) == ["invalid_value"])
    }

    @Test func modesOfLogitsAreRefusedForLogProbabilities() throws {
        let line = Self.vllm("a", #""logprobs":{"tokens":["4",""],"token_logprobs":[-0.5,-0.25]}"#)
        let kept = try read(lines: [line], ["--logprobs-mode", "processed_logprobs"])
        #expect(kept.rows[0].extras.contains(#""logits_kind":"processed""#), "\(kept.result.errors)")
        for mode in ["raw_logits", "processed_logits"] {
            let refused = try ingest.run(
                ["--input", folder("x.jsonl"), "--output", folder("no"), "--logprobs-mode", mode])
            #expect(refused.status == 2 && refused.errors.contains("raw_logprobs or processed_logprobs"))
        }
        // A value gives it away.
        let logits = Self.vllm("a", #""logprobs":{"tokens":["4",""],"token_logprobs":[17.5,-0.25]}"#)
        let reading = try read(lines: [Self.vllm("good", #""x":1"#), logits], to: "logits")
        #expect(reading.rejected.map(\.reason) == ["invalid_logprob"])
        #expect(reading.rejected[0].detail.contains("raw_logits"), "\(reading.rejected[0].detail)")
    }

    /// Ids in, ids out: the prompt is in the request alone.
    @Test func generateIsJoinedByItsRequest() throws {
        try writeBytes(
            Array(
                (#"{"request_id":"r1","token_ids":[17,16],"sampling_params":{"temperature":0.5},"answer":"4"}"# + "\n")
                    .utf8),
            to: folder("requests.jsonl"))
        let line =
            #"{"request_id":"r1","choices":[{"index":0,"token_ids":[5,0],"finish_reason":"stop","logprobs":{"content":[{"token":"token_id:5","logprob":-0.5},{"token":"token_id:0","logprob":-0.25}]}}],"prompt_logprobs":[null]}"#
        let reading = try read(lines: [line], ["--requests", folder("requests.jsonl")])
        let row = try #require(reading.rows.first, "\(reading.result.errors)")
        #expect(
            row.tokenIDs == [17, 16, 5, 0] && row.temperature == 0.5 && row.referenceAnswer == "4"
                && row.rolloutLogprobs == [0, 0, -0.5, -0.25] && reading.counts["remark_prompt_logprobs_left_out"] == 1)
    }

    // MARK: turns

    private static func turn(_ prompt: String, _ ids: String, _ logprobs: String) -> String {
        #"{"prompt_token_ids":\#(prompt),"choices":[{"index":0,"text":"4","finish_reason":"stop","token_ids":\#(ids),"logprobs":{"tokens":["token_id:5"],"token_logprobs":\#(logprobs)}}]}"#
    }

    @Test func turnsOfALineBecomeOneSequence() throws {
        let sglang =
            #"{"text":"4","input_ids":[17,16,5,20],"output_ids":[3,0],"meta_info":{"id":"r","finish_reason":{"type":"stop"},"output_token_logprobs":[[-0.25,3,null],[-0.5,0,null]]}}"#
        let lines = [
            #"{"custom_id":"a","reward":1,"reference_answer":"4","turns":[\#(Self.turn("[17,16]", "[5]", "[-0.125]")),\#(sglang)]}"#,
            // The second turn's history was written anew.
            #"{"custom_id":"b","turns":[\#(Self.turn("[17,16]", "[5]", "[-0.125]")),\#(Self.turn("[17,19,5]", "[5]", "[-1]"))]}"#,
            #"{"custom_id":"c","turns":[\#(Self.turn("[17,16]", "[5,0]", "[-0.125]"))]}"#,
            #"{"custom_id":"d","turns":[{"choices":[{"index":0,"text":"4"}]}]}"#,
        ]
        let reading = try read(lines: lines)
        #expect(reading.rows.map(\.rolloutID) == ["a", "b-0", "b-1"], "\(reading.rejected)")
        let row = reading.rows[0]
        #expect(
            row.tokenIDs == [17, 16, 5, 20, 3, 0] && row.lossMask == [false, false, true, false, true, true]
                && row.rolloutLogprobs == [0, 0, -0.125, 0, -0.25, -0.5] && row.givenReward == 1
                && row.referenceAnswer == "4")
        #expect(reading.rows[1].extras.contains(#""session":"b""#) && reading.rows[2].tokenIDs == [17, 19, 5, 5])
        #expect(reading.counts["remark_history_rewritten"] == 2)
        #expect(reading.rejected.map(\.reason) == ["length_mismatch", "no_token_ids"], "\(reading.rejected)")
    }

    // MARK: Responses API

    @Test func aResponseIsOneTurnOfText() throws {
        func line(_ id: String, _ output: String, _ more: String = #""status":"completed""#, tokens: Int = 2) -> String
        {
            #"{"custom_id":"\#(id)","prompt":"Q: ","response":{"status_code":200,"body":{"id":"resp","object":"response",\#(more),"output":[\#(output)],"usage":{"input_tokens":3,"output_tokens":\#(tokens)}}},"error":null}"#
        }
        let message =
            #"{"type":"message","role":"assistant","content":[{"type":"output_text","text":"42","logprobs":[{"token":"4","logprob":-0.5},{"token":"2","logprob":-0.25}]}]}"#
        let lines = [
            line("a", message, #""status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}"#),
            line("two", message + "," + message), line("tool", message + #",{"type":"function_call","name":"f"}"#),
            line("failed", "", #""status":"failed","error":{"message":"no memory"}"#),
            line("thought", #"{"type":"reasoning","summary":[]},"# + message),
        ]
        let reading = try read(lines: lines, Self.policy)
        #expect(reading.rows.map(\.rolloutID) == ["a"], "\(reading.rejected)")
        #expect(
            reading.rows[0].tokenIDs == [17, 16, 19, 5, 3] && reading.rows[0].finishReason == "max_output_tokens"
                && reading.rows[0].rolloutLogprobs == [0, 0, 0, -0.5, -0.25])
        #expect(
            reading.rejected.map(\.reason) == ["invalid_value", "invalid_value", "engine_error", "no_token_ids"],
            "\(reading.rejected)")
        #expect(reading.rejected[0].detail.contains("2 messages") && reading.rejected[2].detail.contains("no memory"))
    }

    // MARK: trajectories

    @Test func aTrajectoryIsReadFromItsIndentedFile() throws {
        func step(_ prompt: String, _ ids: String, _ logprobs: String) -> String {
            """
                {"step_id": 2, "source": "agent", "message": "4", "metrics": {
                  "prompt_token_ids": \(prompt), "completion_token_ids": \(ids), "logprobs": \(logprobs)}}
            """
        }
        func file(_ steps: [String]) -> String {
            """
            {
              "schema_version": "ATIF-v1.4", "session_id": "s1", "agent": {"name": "a", "model_name": "m"},
              "steps": [{"step_id": 1, "source": "user", "message": "Q"}, \(steps.joined(separator: ","))],
              "extra": {"reward": 0.5}
            }
            """
        }
        let whole = file([step("[17,16]", "[5]", "[-0.125]"), step("[17,16,5,20]", "[3,0]", "[-0.25,-0.5]")])
        let reading = try read(whole, as: "trajectory.json")
        let row = try #require(reading.rows.first, "\(reading.result.errors)")
        #expect(
            row.rolloutID == "s1" && row.tokenIDs == [17, 16, 5, 20, 3, 0] && row.givenReward == 0.5
                && row.lossMask == [false, false, true, false, true, true]
                && row.rolloutLogprobs == [0, 0, -0.125, 0, -0.25, -0.5])
        let without = #"{"step_id": 3, "source": "agent", "message": "well", "metrics": {}}"#
        let skipped = try read(
            file([without, step("[17,16]", "[5]", "[-1]")]), as: "skipped.json", to: "skipped")
        #expect(skipped.rows.count == 1 && skipped.counts["remark_turns_without_ids"] == 1)
        for (name, bad, reason) in [
            ("none", file([without]), "no_token_ids"),
            ("short", file([step("[17]", "[5,0]", "[-1]")]), "length_mismatch"),
        ] {
            let refused = try read(bad, as: name + ".json", to: name)
            #expect(refused.result.status == 3 && refused.result.errors.contains(reason), "\(refused.result.errors)")
        }
    }

    // MARK: files that scripts convert

    @Test func filesThatAScriptConvertsAreToldSo() throws {
        try writeBytes(Array("PAR1xxxx".utf8), to: folder("a.parquet"))
        try writeBytes([0x50, 0x4b, 0x03, 0x04, 0, 0], to: folder("b.pt"))
        for (name, script) in [("a.parquet", "parquet_to_jsonl.py"), ("b.pt", "convert_slime.py")] {
            let refused = try ingest.run(["--input", folder(name), "--output", folder("no-" + name)])
            #expect(refused.status == 3 && refused.errors.contains(script), "\(refused.errors)")
        }
        let inside = try folder.folder("inside")
        try writeBytes(Array("PAR1xxxx".utf8), to: inside + "/a.parquet")
        let refused = try ingest.run(["--input", inside, "--output", folder("no")])
        #expect(refused.status == 3 && refused.errors.contains("parquet_to_jsonl.py"), "\(refused.errors)")
    }
}
