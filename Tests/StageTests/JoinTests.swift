import Arrow
import Files
import Formats
import Foundation
import TestSupport
import Testing
import Tokenizer

/// Results as engines hand them back, in every disorder.
@Suite struct JoinTests {
    private let chain: JobChain
    private let jobs: [JobRow]
    private let requests: [EngineRequest]
    private let tokenizer: Tokenizer

    init() throws {
        chain = try JobChain("fr3e", ["expansion.anchors=1", "expansion.replicates=2"])
        try chain.planJobs()
        jobs = try chain.jobs
        var requests: [EngineRequest] = []
        try forEachLine(of: chain.folder("expansion/jobs/jobs-00000.jsonl")) {
            requests.append(try #require(EngineDialects.decodeRequest($1)))
        }
        self.requests = requests
        tokenizer = try Tokenizer(path: fixture("policy"))
    }

    /// A made-up continuation of its own for every job.
    private func continuation(_ index: Int) -> [Int32] { [Int32(1 + index % 10), Int32(1 + index / 10 % 10), 13, 0] }

    private func completions(_ index: Int, _ edit: (inout [String: Any]) -> Void = { _ in }) -> [String: Any] {
        let tokens = continuation(index)
        var choice: [String: Any] = [
            "index": 0, "text": tokenizer.decode(tokens), "finish_reason": "stop", "token_ids": tokens.map { Int($0) },
            "prompt_token_ids": requests[index].prefix.map { Int($0) },
            "logprobs": ["token_logprobs": [-0.5, -0.25, -1, -0.125], "tokens": tokens.map { "token_id:\($0)" }]
                as [String: Any],
        ]
        edit(&choice)
        let body: [String: Any] = [
            "id": "x", "object": "text_completion", "choices": [choice], "usage": ["completion_tokens": tokens.count],
        ]
        return [
            "id": "r-\(index)", "custom_id": requests[index].customID, "error": NSNull(),
            "response": ["status_code": 200, "request_id": "q", "body": body] as [String: Any],
        ]
    }

    private func failure(_ index: Int) -> [String: Any] {
        [
            "id": "r", "custom_id": requests[index].customID,
            "response": ["status_code": 500, "body": NSNull()] as [String: Any], "error": ["message": "out of memory"],
        ]
    }

    private func line(_ object: [String: Any]) throws -> String {
        String(decoding: try JSONSerialization.data(withJSONObject: object), as: UTF8.self)
    }

    private func write(_ lines: [String], to name: String = "results.jsonl", end: String = "\n") throws -> String {
        try (lines.joined(separator: "\n") + end).write(toFile: chain.folder(name), atomically: true, encoding: .utf8)
        return chain.folder(name)
    }

    private func rejected(_ name: String = "joined") throws -> [RejectedRow] {
        try ArrowTableReader(path: chain.folder(name + "/rejected.arrow"), table: Tables.rejected).rows()
    }

    private func missing(_ name: String = "joined") throws -> [String] {
        var ids: [String] = []
        try forEachLine(of: chain.folder(name + "/missing.jsonl")) {
            ids.append(EngineDialects.decodeRequest($1)?.customID ?? "?")
        }
        return ids
    }

    private func counts(_ result: Executable.Result) -> [String: Int] {
        result.summary["counts"] as? [String: Int] ?? [:]
    }

    @Test func wholeResultsInOrder() throws {
        let result = try chain.join([try write(try requests.indices.map { try line(completions($0)) })])
        #expect(result.status == 0, "\(result.errors)")
        #expect(
            counts(result)["rollouts"] == jobs.count && counts(result)["missing"] == 0
                && counts(result)["rejected"] == 0)
        for (index, row) in try chain.joined.enumerated() {
            let length = Int(jobs[index].prefixLength)
            #expect(
                row.tokenIDs == requests[index].prefix + continuation(index)
                    && row.lossMask == row.tokenIDs.indices.map { $0 >= length })
            #expect(row.rolloutLogprobs == [Float](repeating: 0, count: length) + [-0.5, -0.25, -1, -0.125])
            #expect(
                row.jobID == jobs[index].jobID && row.rolloutID == jobs[index].customID && row.finishReason == "stop"
                    && row.evidence == "none")
            #expect(row.completion == (jobs[index].completionPrefix ?? "") + tokenizer.decode(continuation(index)))
        }
    }

    /// Shuffled, doubled, with failures, strangers, rubbish and a cut-off tail, over two files.
    @Test func everyDisorderAtOnce() throws {
        var shuffled = Array(requests.indices), random = SplitMix(seed: 3)
        shuffled.shuffle(using: &random)
        let wrongPrefix = shuffled[0], failed = shuffled[1], lost = shuffled[2], cut = shuffled[3],
            doubled = shuffled[4], failedFirst = shuffled[5]
        var lines: [String] = []
        for index in shuffled where ![lost, cut].contains(index) {
            switch index {
            case wrongPrefix:
                lines.append(
                    try line(
                        completions(index) {
                            $0["prompt_token_ids"] = [1] + requests[index].prefix.dropFirst().map { Int($0) }
                        }))
            case failed: lines.append(try line(failure(index)))
            case failedFirst: lines += [try line(failure(index)), try line(completions(index))]
            default: lines.append(try line(completions(index)))
            }
        }
        lines.insert(try line(completions(doubled) { $0["token_ids"] = [1, 1, 1, 1] }), at: lines.count)
        lines.insert("not json", at: 3)
        lines.insert(
            #"{"custom_id": "somebody-else", "response": {"status_code": 200, "body": {"choices": [{"text": "1", "token_ids": [1]}]}}}"#,
            at: 5)
        let half = lines.count / 2, tail = try line(completions(cut))
        let first = try write(Array(lines[..<half]), to: "a.jsonl"),
            second = try write(lines[half...] + [String(tail.prefix(tail.count / 2))], to: "b.jsonl", end: "")
        let result = try chain.join([first, second])
        #expect(result.status == 0, "\(result.errors)")
        let counts = counts(result), bad = [wrongPrefix, failed, lost, cut]
        #expect(counts["rollouts"] == jobs.count - 4 && counts["missing"] == 4 && counts["jobs"] == jobs.count)
        #expect(
            counts["rejected_duplicate_result"] == 1 && counts["rejected_engine_error"] == 2
                && counts["rejected_prefix_mismatch"] == 1)
        #expect(
            counts["rejected_unknown_job"] == 1 && counts["rejected_damaged_line"] == 1
                && counts["rejected_cut_off_line"] == 1 && counts["rejected"] == 7)
        // What to submit again: the plan's own lines, in its order.
        #expect(try missing() == bad.sorted().map { requests[$0].customID })
        let whole = try String(contentsOfFile: chain.folder("expansion/jobs/jobs-00000.jsonl"), encoding: .utf8)
        for text in try String(contentsOfFile: chain.folder("joined/missing.jsonl"), encoding: .utf8).split(
            separator: "\n")
        { #expect(whole.contains(text)) }
        let rows = try chain.joined, good = requests.indices.filter { !bad.contains($0) }
        #expect(rows.map(\.tokenIDs) == good.map { requests[$0].prefix + continuation($0) })
        #expect(Set(rows.map(\.rolloutID)).count == rows.count)
        let mismatch = try #require(try rejected().first { $0.reason == "prefix_mismatch" })
        #expect(mismatch.detail.contains("position 0") && mismatch.rolloutID == requests[wrongPrefix].customID)
    }

    @Test func theOrderOfResultsChangesNothing() throws {
        let lines = try requests.indices.map { try line(completions($0)) }
        #expect(try chain.join([try write(lines)], to: "one").status == 0)
        #expect(try chain.join([try write(lines.reversed(), to: "reversed.jsonl")], to: "two").status == 0)
        let table = "/rollouts-00000.arrow"
        let one = try ArrowTableReader(path: chain.folder("one" + table), table: Tables.rollouts).rows()
        #expect(try ArrowTableReader(path: chain.folder("two" + table), table: Tables.rollouts).rows() == one)
    }

    @Test func resubmittedResultsFillTheGaps() throws {
        let lines = try requests.indices.map { try line(completions($0)) }
        let first = try write(Array(lines.prefix(5)), to: "first.jsonl")
        #expect(try chain.join([first], to: "partial").status == 0)
        #expect(try missing("partial").count == jobs.count - 5)
        let second = try write(Array(lines.dropFirst(4)), to: "second.jsonl")
        let result = try chain.join([first, second])
        #expect(counts(result)["rollouts"] == jobs.count && counts(result)["rejected_duplicate_result"] == 1)
        // Our own sampler runs the missing lines as they are, and its shards join the engine's results.
        try chain.require(
            "crux-rollout",
            [
                "--checkpoint", fixture("policy"), "--jobs", chain.folder("partial/missing.jsonl"), "--output",
                chain.folder("resampled"),
            ])
        let mixed = try chain.join([first, chain.folder("resampled")], to: "mixed")
        #expect(counts(mixed)["rollouts"] == jobs.count && counts(mixed)["rejected"] == 0, "\(mixed.errors)")
    }

    @Test func shardsInDisorder() throws {
        try chain.rollout()
        let shard = try RolloutShard(path: chain.folder("results/rollouts-00000.rollouts.zst"))
        let frames = shard.entries.map { Array(shard.compressed($0.span)) }
        #expect(frames.count == jobs.count)
        var bytes = frames.reversed().flatMap { $0 } + frames[7]
        bytes.removeLast(10)
        _ = FileManager.default.createFile(atPath: chain.folder("odd.rollouts.zst"), contents: Data(bytes))
        let result = try chain.join([chain.folder("odd.rollouts.zst")])
        #expect(
            result.status == 0 && counts(result)["rollouts"] == jobs.count && counts(result)["missing"] == 0,
            "\(result.errors)")
        let rows = try chain.joined
        #expect(rows.map { $0.jobID } == jobs.map { $0.jobID })
        try chain.score()
        // Logits are found where they lie.
        #expect(try chain.scored.allSatisfy { $0.entropy != nil })
    }

    @Test func aShardOfAnotherPrefixIsRefused() throws {
        var wrong = TinyRollout(id: jobs[0].customID, group: "g", prompt: requests[0].prefix.count, completion: 3)
        wrong.removeLogits()
        wrong.frame.metadata["job_id"] = jobs[0].customID
        wrong.frame.tokenIDs = [9] + requests[0].prefix.dropFirst() + [1, 2, 0]
        var right = wrong
        right.frame.metadata["job_id"] = jobs[1].jobID
        right.frame.metadata["rollout_id"] = "own-id"
        right.frame.tokenIDs = requests[1].prefix + [1, 2, 0]
        right.frame.lossMask = requests[1].prefix.map { _ in false } + [true, true, true]
        right.frame.rolloutLogprobs = nil
        try writeShard([wrong, right], to: chain.folder("s.rollouts.zst"))
        let result = try chain.join([chain.folder("s.rollouts.zst")])
        #expect(
            counts(result)["rollouts"] == 1 && counts(result)["rejected_prefix_mismatch"] == 1
                && counts(result)["missing"] == jobs.count - 1, "\(result.errors)")
        #expect(try chain.joined.first?.rolloutID == "own-id")
    }

    /// Jobs ask for the best log-probabilities by id, so that what comes back is evidence of entropy.
    @Test func bestLogProbabilitiesOfResultsAreEvidence() throws {
        #expect(requests.allSatisfy { $0.topLogprobs == 20 })
        let lines = try requests.indices.map { index in
            try line(
                completions(index) {
                    let tokens = continuation(index)
                    $0["logprobs"] = [
                        "token_logprobs": [-0.5, -0.25, -1, -0.125], "tokens": tokens.map { "token_id:\($0)" },
                        "top_logprobs": zip(tokens, [-0.5, -0.25, -1, -0.125]).map {
                            ["token_id:\($0)": $1, "token_id:31": -2.5]
                        },
                    ]
                })
        }
        for (number, mode) in ["reference", "drop"].enumerated() {
            let result = try chain.join([try write(lines)], to: "joined\(number)", ["--logits", mode])
            #expect(result.status == 0 && counts(result)["rollouts"] == jobs.count, "\(result.errors)")
            try chain.score("joined\(number)", to: "scored\(number)")
            let scores = try ArrowTableReader(
                path: chain.folder("scored\(number)/scores-00000.arrow"), table: Tables.scores
            ).rows()
            for (index, score) in scores.enumerated() {
                let low = try #require(score.entropyLow), start = requests[index].prefix.count
                #expect(low[start] > 0 && low[start] < score.entropyHigh![start] && low[start - 1] == 0)
            }
        }
        // By text they are none, and the report says how to have them.
        let text = try requests.indices.map { index in
            try line(
                completions(index) {
                    $0["logprobs"] = [
                        "token_logprobs": [-1, -1, -1, -1], "tokens": ["a", "b", "c", "d"],
                        "top_logprobs": [["a": -1], ["b": -1], ["c": -1], ["d": -1]],
                    ]
                })
        }
        let result = try Executable("crux-ingest").run(
            ["--input", try write(text), "--jobs", chain.folder("expansion/jobs"), "--output", chain.folder("text")])
        #expect(
            counts(result)["remark_top_logprobs_as_text"] == jobs.count
                && result.errors.contains("return_tokens_as_token_ids"), "\(result.errors)")
    }

    /// What an engine gave up counts as missing, and is submitted again.
    @Test(arguments: ["abort", "error", "cancelled"]) func aJobThatWasGivenUpIsMissing(_ end: String) throws {
        let lines = try [
            line(completions(0) { $0["finish_reason"] = end }), line(completions(1)),
            line(completions(2) { $0["token_ids"] = [1.5, 2] }),
        ]
        let result = try chain.join([try write(lines)])
        #expect(counts(result)["rollouts"] == 1 && counts(result)["missing"] == jobs.count - 1, "\(result.errors)")
        #expect(counts(result)["rejected_engine_error"] == 1 && counts(result)["rejected_invalid_token_id"] == 1)
        #expect(try missing().contains(requests[0].customID) && missing().contains(requests[2].customID))
    }

    @Test func anEchoedPrefixIsNoPartOfTheContinuation() throws {
        let lines = try [
            line(
                completions(0) { choice in
                    choice["token_ids"] = (requests[0].prefix + continuation(0)).map { Int($0) }
                    let logprobs = requests[0].prefix.map { _ in -1.0 } + [-0.5, -0.25, -1, -0.125]
                    choice["logprobs"] = ["token_logprobs": logprobs, "tokens": logprobs.map { _ in "t" }]
                })
        ]
        #expect(try chain.join([try write(lines)]).status == 0)
        #expect(
            try chain.joined[0].tokenIDs == requests[0].prefix + continuation(0)
                && chain.joined[0].rolloutLogprobs?.suffix(4) == [-0.5, -0.25, -1, -0.125])
    }

    @Test func emptyFilesOfResultsAreMentioned() throws {
        let empty = try write([], to: "empty.jsonl", end: ""), whole = try write([try line(completions(0))])
        let result = try chain.join([empty, whole])
        #expect(result.status == 0 && counts(result)["rejected_empty_shard"] == 1, "\(result.errors)")
    }

    @Test func sglangLinesJoinAlike() throws {
        try chain.planJobs(to: "sglang", ["--engine", "sglang"])
        var lines: [String] = []
        try forEachLine(of: chain.folder("sglang/jobs/jobs-00000.jsonl")) { _, text in
            let object = try #require(try JSONSerialization.jsonObject(with: text) as? [String: Any])
            let request = try #require(SGLangGenerate.request(object))
            let index = lines.count, tokens = continuation(index)
            #expect(
                request.customID == requests[index].customID && request.prefix == requests[index].prefix
                    && request.seed == requests[index].seed)
            lines.append(
                try line([
                    "text": "x", "output_ids": tokens.map { Int($0) },
                    "meta_info": [
                        "id": request.customID, "finish_reason": ["type": "stop", "matched": 0] as [String: Any],
                        "completion_tokens": 4,
                        "output_token_logprobs": tokens.map { [-0.5, Int($0), NSNull()] as [Any] },
                    ] as [String: Any],
                ]))
        }
        let result = try chain.join([try write(lines)])
        #expect(
            result.status == 0 && counts(result)["rollouts"] == jobs.count && counts(result)["rejected"] == 0,
            "\(result.errors)")
        #expect(try chain.joined[3].tokenIDs == requests[3].prefix + continuation(3))
        #expect(try chain.joined[3].rolloutLogprobs?.suffix(4) == [-0.5, -0.5, -0.5, -0.5])
    }

    @Test func chatLinesCarryTextAndDriftIsFound() throws {
        try chain.planJobs(to: "chat", ["--engine", "chat"])
        var bodies: [[String: Any]] = []
        try forEachLine(of: chain.folder("chat/jobs/jobs-00000.jsonl")) { _, text in
            let object = try JSONSerialization.jsonObject(with: text) as? [String: Any]
            bodies.append(try #require(object?["body"] as? [String: Any]))
        }
        let index = try #require(jobs.firstIndex { $0.stateIndex > 0 }),
            messages = try #require(bodies[index]["messages"] as? [[String: String]])
        #expect(
            messages.map { $0["role"] } == ["user", "assistant"]
                && messages[1]["content"] == jobs[index].completionPrefix)
        #expect(
            bodies[index]["continue_final_message"] as? Bool == true
                && bodies[index]["add_generation_prompt"] as? Bool == false)
        func chat(_ index: Int, prefix: [Int32]) throws -> String {
            let entries = continuation(index).map { ["token": "token_id:\($0)", "logprob": -0.5] as [String: Any] }
            let choice: [String: Any] = [
                "message": ["role": "assistant", "content": "x"], "finish_reason": "stop",
                "logprobs": ["content": entries],
            ]
            let body: [String: Any] = ["choices": [choice], "prompt_token_ids": prefix.map { Int($0) }]
            return try line([
                "custom_id": requests[index].customID, "response": ["status_code": 200, "body": body] as [String: Any],
            ])
        }
        let drifted = Array(requests[index].prefix.dropLast()) + [1, 1]
        let result = try chain.join([
            try write([try chat(0, prefix: requests[0].prefix), try chat(index, prefix: drifted)])
        ])
        #expect(counts(result)["rollouts"] == 1 && counts(result)["rejected_prefix_mismatch"] == 1)
        #expect(try chain.joined[0].tokenIDs == requests[0].prefix + continuation(0))
        #expect(try rejected()[0].detail.contains("position \(drifted.count - 2)"))
    }

    @Test func textAloneNeedsATokenizerAndShowsDrift() throws {
        func text(_ index: Int, count: Int) throws -> String {
            let choice: [String: Any] = ["text": "7.", "finish_reason": "stop"]
            return try line([
                "custom_id": requests[index].customID,
                "response": [
                    "status_code": 200,
                    "body": ["choices": [choice], "usage": ["completion_tokens": count]] as [String: Any],
                ] as [String: Any],
            ])
        }
        // Two characters and the end; an engine that sampled five tokens made other ones.
        let lines = [try text(0, count: 3), try text(1, count: 5), try line(completions(2))]
        let without = try chain.join([try write(lines)], to: "without")
        #expect(counts(without)["rejected_no_token_ids"] == 2 && counts(without)["rollouts"] == 1)
        let with = try chain.join([try write(lines)], to: "joined", ["--tokenizer", fixture("policy")])
        #expect(counts(with)["rollouts"] == 2 && counts(with)["rejected_retokenisation_drift"] == 1, "\(with.errors)")
        let row = try #require(try chain.joined.first)
        #expect(row.tokenIDs == requests[0].prefix + [8, 13, 0] && row.extras == #"{"retokenised":"true"}"#)
    }

    @Test func aNamedFormatTakesNoOther() throws {
        let lines = [try write([try line(completions(0)), try line(completions(1))])]
        #expect(counts(try chain.join(lines, to: "named", ["--format", "openai"]))["rollouts"] == 2)
        let other = try chain.join(lines, to: "other", ["--format", "sglang"])
        #expect(other.status == 3 && other.errors.contains("damaged_line"), "\(other.errors)")
    }

    @Test func nothingUsableIsAnErrorThatSaysWhy() throws {
        let result = try chain.join([try write([try line(failure(0))])])
        #expect(result.status == 3 && result.errors.contains("out of memory"))
        let limit = try chain.join(
            [try write([try line(failure(0)), try line(completions(1))])], to: "limited", ["--max-rejected", "0"])
        #expect(limit.status == 3 && limit.errors.contains("--max-rejected 0"))
    }
}

@Suite struct EngineDialectTests {
    private func request() -> EngineRequest {
        var request = EngineRequest()
        (request.customID, request.prefix, request.maxTokens, request.seed) = ("a-1", [5, 6, 7], 12, 99)
        (request.temperature, request.topP, request.topK, request.stopTokenIDs) = (0.7, 0.95, 20, [0, 3])
        request.topLogprobs = 5
        (request.prompt, request.responsePrefix, request.stop) = ("question", "so far", ["\n\nQ:", "é"])
        return request
    }

    /// Every dialect spells out every sampling field: engines otherwise take a model's own defaults.
    @Test func everyDialectSpellsOutEverySamplingField() throws {
        #expect(EngineDialects.names == EngineDialects.names.sorted())
        for dialect in EngineDialects.all {
            let text = try EngineDialects.encode(request(), as: dialect)
            #expect(
                text.hasSuffix("}\n") && text.contains("a-1") && text.contains("0.7") && text.contains("0.95"),
                "\(dialect.name)")
            for field in [
                "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
                "stop", "stop_token_ids",
                "seed",
            ] {
                #expect(
                    text.contains("\"\(field)\"") || text.contains("_\(field)\""), "\(dialect.name) leaves out \(field)"
                )
            }
            guard !dialect.sendsText else { continue }
            var back = try #require(EngineDialects.decodeRequest(Data(text.utf8)))
            (back.prompt, back.responsePrefix) = ("question", "so far")
            #expect(back == request(), "\(dialect.name)")
        }
    }

    @Test func topKOffIsWhatEnginesCallOff() throws {
        var request = request()
        request.topK = 0
        for dialect in EngineDialects.all {
            #expect(try EngineDialects.encode(request, as: dialect).contains("\"top_k\":-1"), "\(dialect.name)")
        }
    }
}
