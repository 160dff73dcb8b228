import Arrow
import Files
import Formats
import Foundation
import TestSupport
import Testing
import Tokenizer

/// Dumps of other programs, without jobs.
@Suite struct DumpTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    /// A dialect's lines as its program writes them, and what is to be read of them.
    struct Sample: Sendable, CustomTestStringConvertible {
        let dialect: String
        let lines: [String]
        var arguments: [String] = []
        let ids: [String]
        let groups: [String]
        let tokens: [[Int32]]
        let masks: [[Bool]]
        let logprobs: [[Float]?]
        let rewards: [Float?]
        let evidence: [String]
        let check: @Sendable (RolloutRow) -> Bool
        var testDescription: String { dialect }
    }

    static let prompt: [Int32] = [17, 16, 19, 3, 11, 3, 12, 15, 20, 18, 16, 19]  // "Q: 2+2=?\nA: "
    private static let promptJSON = "[\(prompt.map { "\($0)" }.joined(separator: ","))]"
    static func mask(_ prompt: Int, _ completion: Int) -> [Bool] {
        (0..<prompt + completion).map { $0 >= prompt }
    }

    /// In the order of the registry.
    static let samples: [Sample] = (engineSamples + chatSamples + trainerSamples).sorted {
        $0.dialect.utf8.lexicographicallyPrecedes($1.dialect.utf8)
    }

    private static let chatSamples: [Sample] = [
        // Chats with a template that puts the end-of-sequence token and a line's end behind each turn.
        Sample(
            dialect: "messages",
            lines: [
                #"{"rollout_id":"m-1","group_id":"g","reward":1,"finish_reason":"stop","source":"web","messages":"#
                    + #"[{"role":"user","content":"2+2=?"},{"role":"assistant","content":"4"}]}"#,
                #"{"messages":[{"role":"user","content":"2+2=?"},{"role":"assistant","content":"5."}],"reference_answer":4}"#,
            ],
            arguments: ["--tokenizer", fixture("chat-templates/policy")], ids: ["m-1", "x-1"],
            groups: ["g", "prompt-" + prefixDigest(prompt).prefix(16)],
            tokens: [prompt + [5, 0, 20], prompt + [6, 13, 0, 20]],
            masks: [mask(12, 2) + [false], mask(12, 3) + [false]], logprobs: [nil, nil], rewards: [1, nil],
            evidence: ["none", "none"]
        ) { row in
            row.prompt == "Q: 2+2=?\nA: "
                && (row.rolloutID == "m-1"
                    ? row.completion == "4" && row.finishReason == "stop"
                        && row.extras == #"{"retokenised":"true","source":"web"}"#
                    : row.completion == "5." && row.referenceAnswer == "4")
        }
    ]

    static let engineSamples: [Sample] = [
        // A chat batch of vLLM with n = 2, return_token_ids and top_logprobs 2. Of the second choice's tokens one is
        // not among the two best.
        Sample(
            dialect: "openai",
            lines: [
                #"{"id":"vllm-1","custom_id":"sum-1","response":{"status_code":200,"request_id":"vllm-batch-1","body":{"id":"chatcmpl-1","object":"chat.completion","#
                    + #""created":1,"model":"policy","choices":[{"index":0,"message":{"role":"assistant","content":"4"},"logprobs":{"content":["#
                    + #"{"token":"token_id:5","logprob":-0.25,"bytes":null,"top_logprobs":[{"token":"token_id:5","logprob":-0.25,"bytes":null},{"token":"token_id:6","logprob":-2,"bytes":null}]},"#
                    + #"{"token":"token_id:0","logprob":-0.5,"bytes":null,"top_logprobs":[{"token":"token_id:0","logprob":-0.5,"bytes":null},{"token":"token_id:13","logprob":-1,"bytes":null}]}]},"#
                    + #""finish_reason":"stop","stop_reason":null,"token_ids":[5,0]},{"index":1,"message":{"role":"assistant","content":"5."},"logprobs":{"content":["#
                    + #"{"token":"token_id:6","logprob":-3,"bytes":null,"top_logprobs":[{"token":"token_id:6","logprob":-3,"bytes":null},{"token":"token_id:5","logprob":-0.25,"bytes":null},{"token":"token_id:7","logprob":-2,"bytes":null}]},"#
                    + #"{"token":"token_id:13","logprob":-0.75,"bytes":null,"top_logprobs":[{"token":"token_id:0","logprob":-0.7,"bytes":null},{"token":"token_id:13","logprob":-0.75,"bytes":null}]}]},"#
                    + #""finish_reason":"length","stop_reason":null,"token_ids":[6,13]}],"usage":{"prompt_tokens":12,"total_tokens":16,"completion_tokens":4},"prompt_token_ids":"#
                    + promptJSON
                    + #"}},"error":null,"reference_answer":"4","data_source":"openai/gsm8k","temperature":0.5}"#,
                // Completions: prompt_token_ids in the choice, log-probabilities by text, of which no top-k can be
                // made.
                #"{"id":"vllm-2","custom_id":"sum-2","response":{"status_code":200,"request_id":"r","body":{"id":"cmpl-2","object":"text_completion","choices":[{"index":0,"text":"4","#
                    + #""logprobs":{"text_offset":[0,1],"token_logprobs":[-0.25,-0.5],"tokens":["4","<|endoftext|>"],"top_logprobs":[{"4":-0.25},{"<|endoftext|>":-0.5}]},"finish_reason":"stop","#
                    + #""token_ids":[5,0],"prompt_token_ids":"# + promptJSON
                    + #"}]}},"error":null,"group_id":"mine","reward":1}"#,
            ],
            ids: ["sum-1-0", "sum-1-1", "sum-2"], groups: ["sum-1", "sum-1", "mine"],
            tokens: [prompt + [5, 0], prompt + [6, 13], prompt + [5, 0]],
            masks: [mask(12, 2), mask(12, 2), mask(12, 2)], logprobs: [[-0.25, -0.5], [-3, -0.75], [-0.25, -0.5]],
            rewards: [nil, nil, 1],
            evidence: ["topk", "topk", "none"]
        ) { row in
            row.rolloutID == "sum-2"
                ? row.finishReason == "stop" && row.temperature == 1 && row.completion == "4"
                : row.referenceAnswer == "4" && row.dataSource == "openai/gsm8k" && row.temperature == 0.5
                    && row.finishReason == (row.sampleIndex == 0 ? "stop" : "length")
        },
        Sample(
            dialect: "prime_rl",
            lines: [
                #"{"schema_version":1,"step":7,"export_step":7,"rank":0,"micro_step":0,"micro_sequence_idx":0,"export_sequence_idx":0,"run_id":null,"env_name":"sums","token_ids":"#
                    + #"[17,16,5,0],"position_ids":[0,1,2,3],"loss_mask":[false,false,true,true],"advantages":[0.0,0.0,0.5,0.5],"losses":[{},{},{},{}],"rewards":[1.0,1.0,1.0,1.0],"#
                    + #""inference_logprobs":[0.0,0.0,-0.25,-0.5],"trainer_logprobs":[0.0,-1.0,-0.26,-0.49],"entropy":[0.1,0.2,0.3,0.4],"mismatch_kl":[null,null,0.0,0.0]}"#,
                // Two turns with the environment's answer between, rewards not known.
                #"{"schema_version":1,"step":7,"rank":0,"micro_step":0,"micro_sequence_idx":1,"export_sequence_idx":1,"env_name":"sums","token_ids":[17,16,6,20,5,0],"position_ids":"#
                    + #"[0,1,2,3,4,5],"loss_mask":[false,false,true,false,true,true],"advantages":[0,0,-0.5,0,-0.5,-0.5],"inference_logprobs":[0,0,-1.5,-9,-0.25,-0.125],"#
                    + #""trainer_logprobs":[0,0,0,0,0,0],"entropy":[0,0,0,0,0,0],"rewards":[null,null,null,null,null,null]}"#,
            ],
            ids: ["step-7-rank-0-0", "step-7-rank-0-1"],
            groups: Array(repeating: "step-7-" + prefixDigest([17, 16]).prefix(16), count: 2),
            tokens: [[17, 16, 5, 0], [17, 16, 6, 20, 5, 0]],
            masks: [mask(2, 2), [false, false, true, false, true, true]],
            logprobs: [[-0.25, -0.5], [-1.5, 0, -0.25, -0.125]], rewards: [1, nil], evidence: ["none", "none"]
        ) { $0.dataSource == "sums" && $0.policyVersion == "7" },
        // With logprob_start_len 0 and top_logprobs_num 1; the second as a driver writes it that keeps the request's
        // input_ids.
        Sample(
            dialect: "sglang",
            lines: [
                #"{"text":"4","output_ids":[5,0],"meta_info":{"id":"a-1","finish_reason":{"type":"stop","matched":0},"prompt_tokens":2,"completion_tokens":2,"cached_tokens":0,"#
                    + #""weight_version":"v3","input_token_logprobs":[[null,17,null],[-0.5,16,null]],"output_token_logprobs":[[-0.25,5,null],[-0.5,0,null]],"#
                    + #""output_top_logprobs":[[[-0.25,5,null]],[[-0.4,13,null]]]}}"#,
                #"{"input_ids":[17,16],"text":"44","output_ids":[5,5],"meta_info":{"id":"a-2","finish_reason":{"type":"length","length":2},"prompt_tokens":2,"completion_tokens":2},"reference_answer":4}"#,
            ],
            ids: ["a-1", "a-2"], groups: Array(repeating: "prompt-" + prefixDigest([17, 16]).prefix(16), count: 2),
            tokens: [[17, 16, 5, 0], [17, 16, 5, 5]],
            masks: [mask(2, 2), mask(2, 2)], logprobs: [[-0.25, -0.5], nil], rewards: [nil, nil],
            evidence: ["topk", "none"]
        ) {
            $0.rolloutID == "a-1"
                ? $0.policyVersion == "v3" && $0.finishReason == "stop"
                : $0.referenceAnswer == "4" && $0.finishReason == "length"
        },
        Sample(
            dialect: "verl",
            lines: [
                #"{"input": "Q: 2+2=?\nA: ", "output": "4", "gts": "4", "score": 1.0, "step": 3, "uid": "17_1_0", "acc": true}"#,
                // An older version, with what its reward function added.
                #"{"input": "Q: 2+2=?\nA: ", "output": "5.", "gts": ["4", "four"], "score": "-0.5", "step": 3, "pred": "5"}"#,
            ],
            arguments: ["--tokenizer", fixture("policy")], ids: ["step-3-17_1_0", "x-1"],
            groups: ["step-3-17", "step-3-" + SHA256Digest.of("Q: 2+2=?\nA: ").prefix(16)],
            tokens: [prompt + [5], prompt + [6, 13]], masks: [mask(12, 1), mask(12, 2)],
            logprobs: [nil, nil], rewards: [1, -0.5], evidence: ["none", "none"]
        ) { row in
            row.prompt == "Q: 2+2=?\nA: " && row.policyVersion == "3"
                && (row.completion == "4"
                    ? row.sampleIndex == 1 && row.referenceAnswer == "4"
                        && row.extras == #"{"acc":"true","retokenised":"true"}"#
                    : row.referenceAnswer == #"["4","four"]"# && row.extras == #"{"pred":"5","retokenised":"true"}"#)
        },
    ]

    private func write(_ lines: [String], to name: String = "x.jsonl", end: String = "\n") throws -> String {
        try (lines.joined(separator: "\n") + end).write(toFile: folder(name), atomically: true, encoding: .utf8)
        return folder(name)
    }

    private func run(_ input: String, to name: String, _ more: [String] = []) throws -> Executable.Result {
        try ingest.run(["--input", input, "--output", folder(name)] + more)
    }

    private func rows(_ name: String) throws -> [RolloutRow] {
        try ArrowTableReader(path: folder(name) + "/rollouts-00000.arrow", table: Tables.rollouts).rows()
    }
    private func rejected(_ name: String) throws -> [RejectedRow] {
        try ArrowTableReader(path: folder(name) + "/rejected.arrow", table: Tables.rejected).rows()
    }

    @Test func everyDialectHasASample() {
        #expect(DumpDialects.names == DumpDialects.names.sorted() && Self.samples.map(\.dialect) == DumpDialects.names)
        #expect(DumpDialects.all.allSatisfy { !$0.source.isEmpty })
    }

    @Test(arguments: samples) func aDumpIsReadWhole(_ sample: Sample) throws {
        let input = try write(sample.lines), result = try run(input, to: "auto", sample.arguments)
        #expect(result.status == 0, "\(result.errors)")
        let rows = try rows("auto")
        #expect(rows.map(\.rolloutID) == sample.ids && rows.map(\.groupID) == sample.groups)
        #expect(rows.map(\.tokenIDs) == sample.tokens && rows.map(\.lossMask) == sample.masks)
        for (row, logprobs) in zip(rows, sample.logprobs) {
            #expect(
                row.rolloutLogprobs
                    == logprobs.map { [Float](repeating: 0, count: row.tokenIDs.count - $0.count) + $0 },
                "\(row.rolloutID)")
        }
        #expect(rows.map(\.givenReward) == sample.rewards && rows.map(\.evidence) == sample.evidence)
        for row in rows { #expect(sample.check(row), "\(row)") }
        #expect(try rejected("auto").isEmpty)
        // The dialect's own name changes nothing; another's refuses every line.
        #expect(try run(input, to: "named", sample.arguments + ["--format", sample.dialect]).status == 0)
        #expect(try self.rows("named") == rows)
        for other in DumpDialects.names where other != sample.dialect {
            let refused = try run(input, to: "other-" + other, sample.arguments + ["--format", other])
            #expect(refused.status == 3 && refused.errors.contains("unknown_dialect"), "\(refused.errors)")
        }
    }

    /// Behind good lines, each bad one costs itself alone.
    @Test(arguments: samples) func aCutOffDumpLosesItsLastLine(_ sample: Sample) throws {
        let last = try #require(sample.lines.last),
            input = try write(sample.lines.dropLast() + ["not json", String(last.dropLast(9))], end: "")
        #expect(try run(input, to: "out", sample.arguments).status == 0)
        let rejected = try rejected("out")
        #expect(rejected.map(\.reason) == ["damaged_line", "cut_off_line"])
        #expect(rejected.map { Int($0.frameIndex) } == [sample.lines.count - 1, sample.lines.count])
        #expect(rejected[0].frameOffset == Int64(sample.lines.dropLast().reduce(0) { $0 + $1.utf8.count + 1 }))
        #expect(try rows("out").map(\.rolloutID) == sample.ids.dropLast())
    }

    private func scores(_ lines: [String]) throws -> [ScoreRow] {
        let pipeline = try Pipeline()
        try pipeline.ingest(try write(lines))
        try pipeline.score(["--reward", "gsm8k"])
        return try ArrowTableReader(path: pipeline.folder("score") + "/scores-00000.arrow", table: Tables.scores).rows()
    }

    /// Of the given probabilities and one more that makes them whole.
    private func entropy(_ known: [Double]) -> Double {
        -(known + [1 - known.reduce(0, +)]).reduce(0) { $0 + $1 * log($1) }
    }

    @Test func theBestLogProbabilitiesBoundTheEntropy() throws {
        // Raw log-probabilities say nothing exact of another temperature.
        #expect(try scores(Self.engineSamples[0].lines).allSatisfy { $0.entropyLow == nil })
        let lines = Self.engineSamples[0].lines.map {
            $0.replacingOccurrences(of: #""temperature":0.5"#, with: #""temperature":1"#)
        }
        let rounded = try scores(lines)
        for score in rounded.prefix(2) {
            let low = try #require(score.entropyLow), high = try #require(score.entropyHigh)
            #expect(low[12] > 0 && low[12] < high[12] && low[0] == 0)
        }
        // A number with more digits than a rounding leaves among the best, and one among the sampled: all of their
        // rollout are then what they say.
        let best = -0.2512345, sampled = -3.0012345
        let exact = try scores(
            lines.map {
                $0.replacingOccurrences(of: ":-0.25,", with: ":\(best),")
                    .replacingOccurrences(of: ":-3,", with: ":\(sampled),")
            })
        // Two of the best leave 0.0864 for the rest, each of which has at most exp(-2): -Σ p log p of three parts. In
        // the second rollout the sampled token, none of the best two, is known beside them.
        for (index, known) in [[best, -2], [best, -2, sampled]].enumerated() {
            let low = Double(try #require(exact[index].entropyLow)[12])
            // Probabilities are summed as float32 logarithms.
            #expect(isClose(low, entropy(known.map { exp($0) }), absolute: 1e-4))
            // As written, with two decimals, the same numbers leave room for half a hundredth each.
            let wider = Double(try #require(rounded[index].entropyLow)[12])
            let asWritten = entropy(([-0.25] + known.dropFirst()).map { exp($0) })
            #expect(wider < asWritten && wider > asWritten - 0.15)
        }
        #expect(rounded[2].entropyLow == nil)
    }

    /// A row has the k best and, where it is none of them, the sampled token.
    @Test func howManyOfTheEntriesAreTheBest() throws {
        func width(_ rows: [[Int]], sampled: [Int]) throws -> Int {
            let top = rows.map { row in row.enumerated().map { [-Double($0 + 1), $1, NSNull()] as [Any] } }
            let meta: [String: Any] = [
                "id": "a", "output_token_logprobs": sampled.map { [-9, $0, NSNull()] as [Any] },
                "output_top_logprobs": top,
            ]
            let line = try JSONSerialization.data(withJSONObject: ["text": "", "meta_info": meta])
            guard case .rollouts(let rollouts) = DumpDialects.decode(line) else { return -1 }
            return rollouts[0].best?.width(sampled: sampled.map { Int32($0) }) ?? 0
        }
        #expect(try width([[1, 2], [3, 4, 5]], sampled: [1, 5]) == 2)
        #expect(try width([[1, 2], [3, 4]], sampled: [1, 4]) == 2)
        // Sampled last everywhere: it may be one too many.
        #expect(try width([[1, 2], [3, 4]], sampled: [2, 4]) == 1)
        #expect(try width([[2], [4]], sampled: [2, 4]) == 0)
        #expect(try width([[1], [3]], sampled: [2, 4]) == 1)
        // Nothing is known of the second token: that is no reason to know nothing of the first.
        #expect(try width([[1, 2], []], sampled: [1, 4]) == 2)
        #expect(try width([[1, 2]], sampled: [1, 4]) == 0)
    }

    struct Fault: Sendable, CustomTestStringConvertible {
        let reason: String
        let line: String
        var arguments: [String] = []
        var testDescription: String { reason + ": " + line.prefix(40) }
    }

    private static let policy = ["--tokenizer", fixture("policy")]

    static let faults: [Fault] = [
        Fault(
            reason: "engine_error",
            line: #"{"custom_id":"a","response":{"status_code":500,"body":null},"error":{"message":"out of memory"}}"#),
        Fault(
            reason: "engine_error",
            line: #"{"text":"","meta_info":{"id":"a","finish_reason":{"type":"abort","message":"stopped"}}}"#),
        Fault(
            reason: "length_mismatch",
            line: #"{"schema_version":1,"step":1,"rank":0,"token_ids":[1,2],"loss_mask":[false]}"#),
        Fault(
            reason: "unknown_dialect",
            line: #"{"custom_id":"a","method":"POST","url":"/v1/completions","body":{"prompt":[1]}}"#),
        Fault(reason: "unknown_dialect", line: #"{"prompt":"a","answer":"b"}"#),
        Fault(
            reason: "no_prompt",
            line: #"{"custom_id":"a","choices":[{"index":0,"text":"4","token_ids":[5,0],"finish_reason":"stop"}]}"#),
        Fault(
            reason: "no_token_ids",
            line: #"{"custom_id":"a","prompt_token_ids":[1],"choices":[{"index":0,"text":"4","finish_reason":"stop"}]}"#
        ),
        Fault(reason: "no_token_ids", line: #"{"input":"Q: ","output":"4","gts":"4","score":1,"step":1}"#),
        Fault(
            reason: "empty_continuation", line: #"{"input":"Q: ","output":"","gts":"4","score":1,"step":1}"#,
            arguments: policy),
        Fault(
            reason: "retokenisation_drift",
            line:
                #"{"custom_id":"a","prompt":"Q: ","choices":[{"index":0,"text":"42","finish_reason":"length"}],"usage":{"completion_tokens":1}}"#,
            arguments: policy),
        Fault(
            reason: "invalid_logprob",
            line:
                #"{"custom_id":"a","prompt":[1],"choices":[{"index":0,"text":"4","token_ids":[5],"logprobs":{"tokens":["4"],"token_logprobs":[-9999.0]}}]}"#
        ),
        Fault(
            reason: "length_mismatch",
            line:
                #"{"custom_id":"a","prompt":[1],"choices":[{"index":0,"text":"4","token_ids":[5,0],"logprobs":{"tokens":["4"],"token_logprobs":[-1]}}]}"#
        ),
        Fault(
            reason: "invalid_logprob",
            line: #"{"schema_version":1,"token_ids":[1,2],"loss_mask":[false,true],"inference_logprobs":[0,null]}"#),
        Fault(
            reason: "no_trainable_token",
            line: #"{"schema_version":1,"token_ids":[1,2],"loss_mask":[false,false],"inference_logprobs":[0,0]}"#),
        Fault(
            reason: "first_token_trainable",
            line: #"{"schema_version":1,"token_ids":[1,2],"loss_mask":[true,true],"inference_logprobs":[0,0]}"#),
        Fault(
            reason: "invalid_token_id", line: #"{"input_ids":[1],"text":"","output_ids":[-4],"meta_info":{"id":"a"}}"#),
        Fault(
            reason: "duplicate_rollout_id",
            line: #"{"input_ids":[17,16],"text":"4","output_ids":[5,0],"meta_info":{"id":"good"}}"#),
    ]

    @Test(arguments: faults) func aLineThatBreaksARuleIsRejectedAlone(_ fault: Fault) throws {
        let good = #"{"input_ids":[17,16],"text":"4","output_ids":[5,0],"meta_info":{"id":"good"}}"#
        let result = try run(try write([good, fault.line]), to: "out", fault.arguments)
        #expect(result.status == 0, "\(result.errors)")
        #expect(try rows("out").map(\.rolloutID) == ["good"])
        let rejected = try rejected("out")
        #expect(
            rejected.map(\.reason) == [fault.reason] && rejected[0].frameIndex == 1 && rejected[0].shard == "x.jsonl",
            "\(rejected)")
    }

    /// An engine counts the token that stopped it but leaves it out of the text.
    @Test func textIsTokenisedAgainWithTheTokenThatStoppedIt() throws {
        let line =
            #"{"custom_id":"a","prompt":"Q: ","choices":[{"index":0,"text":"42","finish_reason":"stop"}],"usage":{"completion_tokens":3}}"#
        #expect(try run(try write([line]), to: "out", Self.policy).status == 0)
        #expect(try rows("out").map(\.tokenIDs) == [[17, 16, 19, 5, 3, 0]])
        #expect(try rows("out").map(\.lossMask) == [Self.mask(3, 3)])
    }

    @Test func threadsAndTasksDoNotChangeAByte() throws {
        let dump = try folder.folder("dump")
        for (index, sample) in Self.engineSamples.enumerated() {
            _ = try write(sample.lines, to: "dump/\(index).jsonl")
        }
        // Found by their names, and without one by their content.
        try FileManager.default.copyItem(atPath: dump + "/0.jsonl", toPath: folder("again.txt"))
        let arguments = ["--input", dump, "--input", folder("again.txt")] + Self.policy
        let one = try ingest.run(arguments + ["--output", folder("one"), "--threads", "1"])
        #expect(one.status == 0, "\(one.errors)")
        #expect(
            (one.summary["counts"] as? [String: Int])?["rollouts"] == 9
                && (one.summary["counts"] as? [String: Int])?["rejected_duplicate_rollout_id"] == 3)
        #expect(try rejected("one").map { Int($0.frameIndex) } == [0, 0, 1])
        for rank in [2, 0, 1] {
            _ = try ingest.run(
                arguments + ["--output", folder("tasks"), "--threads", "2", "--tasks", "3", "--rank", "\(rank)"])
        }
        #expect(try contents(of: folder("tasks")) == contents(of: folder("one")))
    }

    @Test func samplingSettingsOfTheDumpAreThoseOfTheFlags() throws {
        #expect(
            try run(try write(Self.engineSamples[0].lines), to: "out", ["--temperature", "0.7", "--top-p", "0.9"])
                .status == 0
        )
        #expect(try rows("out").map(\.temperature) == [0.5, 0.5, 0.7] && rows("out").allSatisfy { $0.topP == 0.9 })
        #expect(try run(folder("x.jsonl"), to: "no", ["--temperature", "0"]).status == 2)
        #expect(try run(folder("x.jsonl"), to: "no", ["--format", "verl", "--jobs", "jobs"]).status == 2)
    }
}
