import Arrow
import Formats
import Foundation
import TestSupport
import Testing
import Tokenizer

private let rollout = Executable("crux-rollout")

/// Stop strings and stop tokens of crux-rollout, held against what the same seeds sample without them.
@Suite struct StopTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    private func write(_ lines: [[String: Any]], _ name: String = "prompts.jsonl") throws -> String {
        let text = try lines.map { String(decoding: try JSONSerialization.data(withJSONObject: $0), as: UTF8.self) }
        try (text.joined(separator: "\n") + "\n").write(toFile: folder(name), atomically: true, encoding: .utf8)
        return folder(name)
    }

    private func prompts(_ more: [String: Any] = [:]) throws -> String {
        let sums = ["33+16+41", "40+3+4+41", "52+2+11"]
        return try write(sums.map { ["group_id": "g" + $0, "prompt": "Q: \($0)=?\nA: "].merging(more) { $1 } })
    }

    /// Rollouts by id, as ingest reads them.
    private func sample(_ name: String, prompts: String, _ more: [String] = []) throws -> [String: RolloutRow] {
        let source = [
            "--quiet", "--checkpoint", fixture("policy"), "--prompts", prompts, "--group-size", "3", "--max-tokens",
            "60",
        ]
        let result = try rollout.run(source + ["--output", folder(name), "--seed", "7"] + more)
        try #require(result.status == 0, "\(result.errors)")
        return try rows(of: name)
    }

    private func rows(of name: String) throws -> [String: RolloutRow] {
        let read = try Executable("crux-ingest").run([
            "--quiet", "--input", folder(name), "--output", folder(name + "-read"),
        ])
        try #require(read.status == 0, "\(read.errors)")
        let rows = try ArrowTableReader(path: folder(name + "-read/rollouts-00000.arrow"), table: Tables.rollouts)
            .rows()
        return Dictionary(uniqueKeysWithValues: rows.map { ($0.rolloutID, $0) })
    }

    private func extras(_ row: RolloutRow) -> [String: String] {
        ((try? JSONSerialization.jsonObject(with: Data(row.extras.utf8))) as? [String: String]) ?? [:]
    }

    private func sampled(_ row: RolloutRow) -> [Int32] { zip(row.tokenIDs, row.lossMask).filter(\.1).map(\.0) }

    @Test func sampledTokensStayAndTheTextEndsBeforeTheStopString() throws {
        let prompts = try prompts(), whole = try sample("whole", prompts: prompts),
            tokenizer = try Tokenizer(path: fixture("policy"))
        let stopped = try sample("stopped", prompts: prompts, ["--stop", ". ", "--stop", "no such"])
        var ended = 0
        for (id, row) in stopped {
            let full = try #require(whole[id]), text = tokenizer.decode(sampled(full))
            guard let place = text.range(of: ". ") else {
                #expect(
                    row.tokenIDs == full.tokenIDs && row.finishReason == full.finishReason
                        && extras(row)["stop_reason"] == nil)
                continue
            }
            ended += 1
            // One character is one token here: up to and with the stop string, which crosses two of them, and nothing
            // more.
            let kept = text.distance(from: text.startIndex, to: place.upperBound)
            #expect(
                sampled(row) == Array(sampled(full).prefix(kept)) && row.completion == String(text[..<place.lowerBound])
            )
            #expect(row.finishReason == "stop" && extras(row)["stop_reason"] == ". ")
            #expect(extras(row)["stop"] == #"[". ","no such"]"#)
            #expect(row.rolloutLogprobs == full.rolloutLogprobs.map { Array($0.prefix(row.tokenIDs.count)) })
        }
        #expect(ended == 9)
    }

    @Test func aStopTokenIsKeptAmongTheTokensAndNotInTheText() throws {
        let prompts = try prompts(), whole = try sample("whole", prompts: prompts)
        // 13 is '.', 14 '#'.
        for (id, row) in try sample("stopped", prompts: prompts, ["--stop-token-ids", "14", "13"]) {
            let full = sampled(try #require(whole[id])), end = try #require(full.firstIndex { $0 == 13 || $0 == 14 })
            #expect(
                sampled(row) == Array(full[...end]) && row.finishReason == "stop"
                    && extras(row)["stop_reason"] == "\(full[end])")
            #expect(!row.completion.contains(".") && !row.completion.contains("#") && row.completion.utf8.count == end)
        }
    }

    @Test func promptsBringTheirOwnAndBatchesChangeNothing() throws {
        let own = try sample("own", prompts: try prompts(["stop": ". ", "stop_token_ids": [14]]))
        #expect(own.values.allSatisfy { extras($0)["stop"] == #"[". "]"# && extras($0)["stop_token_ids"] == "[14]" })
        let list = try sample(
            "list", prompts: try prompts(["stop": [". "]]), ["--batch", "2", "--stop-token-ids", "14"])
        #expect(own == list.mapValues { $0 })
        _ = try sample(
            "threads", prompts: try prompts(["stop": ". "]),
            ["--batch", "1", "--threads", "3", "--stop-token-ids", "14"])
        #expect(try rows(of: "threads") == own)
    }

    @Test func anotherStopIsAnotherConfiguration() throws {
        let arguments = [
            "--quiet", "--checkpoint", fixture("policy"), "--prompts", try prompts(), "--output", folder("one"),
            "--group-size", "1",
        ]
        #expect(try rollout.run(arguments + ["--stop", "a"]).status == 0)
        #expect(try rollout.run(arguments + ["--stop", "b"]).status == 5)
    }

    @Test(arguments: [
        (#"{"group_id": "g", "prompt": "1", "stop": ""}"#, "line 1: found a prompt whose stop is ''"),
        (#"{"group_id": "g", "prompt": "1", "stop": [1]}"#, "not a string or a list of strings"),
        (#"{"group_id": "g", "prompt": "1", "stop_token_ids": [1.5]}"#, "not a list of token ids"),
        (#"{"group_id": "g", "prompt": "1", "stop_token_ids": [true]}"#, "not a list of token ids"),
        (#"{"group_id": "g", "prompt_token_ids": [true]}"#, "a list of token ids"),
        (#"{"group_id": "g", "prompt_token_ids": [4294967297]}"#, "a list of token ids"),
        (#"{"group_id": "g", "prompt": 1}"#, "line 1: found prompt 1, expected text"),
    ]) func badFieldsAreNamed(_ line: String, _ message: String) throws {
        try line.write(toFile: folder("bad.jsonl"), atomically: true, encoding: .utf8)
        let result = try rollout.run([
            "--checkpoint", fixture("policy"), "--prompts", folder("bad.jsonl"), "--output", folder("out"),
        ])
        #expect(result.status == 3 && result.errors.contains(message), "\(result.errors)")
    }

    @Test func aSpecialTokensTextIsSaidToEndNothing() throws {
        let arguments = [
            "--checkpoint", fixture("policy"), "--prompts", try prompts(), "--output", folder("out"), "--group-size",
            "1",
        ]
        let result = try rollout.run(arguments + ["--stop", "<|endoftext|>"])
        #expect(result.status == 0 && result.errors.contains("--stop-token-ids 0"), "\(result.errors)")
        #expect(try rollout.run(arguments + ["--stop", ""]).status == 2)
        #expect(try rollout.run(arguments + ["--stop-token-ids", "-1"]).status == 2)
    }

    // MARK: without tokens

    /// The policy's vocabulary has 32 rows, its tokenizer 23 tokens.
    @Test func idsThatStandForNoTokenAreKeptCountedAndSaid() throws {
        let prompts = try prompts(),
            arguments = ["--checkpoint", fixture("policy"), "--prompts", prompts, "--output", folder("hot")]
        let result = try rollout.run(
            arguments + ["--temperature", "9", "--group-size", "2", "--max-tokens", "40", "--stop", "zzz"])
        try #require(result.status == 0, "\(result.errors)")
        let rows = try rows(of: "hot"), strange = rows.values.reduce(0) { $0 + sampled($1).count { $0 >= 23 } }
        #expect(strange > 10 && (result.summary["counts"] as? [String: Int])?["sampled_without_token"] == strange)
        #expect(
            result.errors.contains("\(strange) of") && result.errors.contains("32 rows, its tokenizer 23 tokens"),
            "\(result.errors)")
        // Not masked: what was sampled has the log-probability of the whole softmax, so scores agree.
        #expect(rows.values.allSatisfy { $0.completion.utf8.count == sampled($0).count { $0 < 23 && $0 > 0 } })
    }

    @Test func tokenIDsNeedNoTokenizer() throws {
        for name in ["config.json", "generation_config.json", "model.safetensors"] {
            try FileManager.default.copyItem(
                atPath: fixture("policy/" + name), toPath: try folder.folder("ids") + "/" + name)
        }
        func run(_ lines: [[String: Any]], _ more: [String] = []) throws -> Executable.Result {
            let source = [
                "--checkpoint", folder("ids"), "--prompts", try write(lines, "ids.jsonl"), "--max-tokens", "30",
            ]
            return try rollout.run(source + ["--output", folder("out"), "--group-size", "2", "--overwrite"] + more)
        }
        let ids: [String: Any] = ["group_id": "g", "prompt_token_ids": [17, 16, 19, 3, 8]]
        let result = try run([ids], ["--stop-token-ids", "20"])
        #expect(result.status == 0 && result.errors.contains("no tokenizer.json"), "\(result.errors)")
        let rows = try rows(of: "out")
        #expect(
            rows.count == 2
                && rows.values.allSatisfy {
                    $0.completion.isEmpty && Array($0.tokenIDs.prefix(5)) == [17, 16, 19, 3, 8]
                })
        let text = try run([ids, ["group_id": "h", "prompt": "Q: 1"]])
        #expect(text.status == 3 && text.errors.contains("ids.jsonl: line 2: found a prompt as text"), "\(text.errors)")
        let stops = try run([ids.merging(["stop": "x"]) { $1 }])
        #expect(stops.status == 3 && stops.errors.contains("line 1: found stop strings"), "\(stops.errors)")
        #expect(try run([ids], ["--stop", "x"]).status == 3)
    }

    // MARK: jobs

    @Test func jobsCarryWhatTheirBasesStoppedAt() throws {
        let chain = try JobChain("fr3e", JobChain.fr3e)
        let base = try sample(
            "base", prompts: try prompts(["reference_answer": "72", "data_source": "openai/gsm8k"]),
            ["--stop", "\n", "--logits"])
        #expect(base.values.contains { extras($0)["stop_reason"] == "\n" })
        try chain.require("crux-ingest", ["--input", folder("base"), "--output", folder("ingest")])
        try chain.require("crux-score", ["--input", folder("ingest"), "--output", folder("score")])
        try chain.require(
            "crux-plan",
            [
                "--input", folder("ingest"), "--scores", folder("score"), "--output", folder("plan"), "--recipe",
                chain.recipe, "--tokenizer",
            ]
                + [fixture("policy"), "--stop", "#"] + chain.set.flatMap { ["--set", $0] })
        let lines = try String(contentsOfFile: folder("plan/jobs/jobs-00000.jsonl"), encoding: .utf8).split(
            separator: "\n")
        #expect(!lines.isEmpty && lines.allSatisfy { $0.contains(##""stop":["#","\n"]"##) })
        try chain.require(
            "crux-rollout",
            ["--checkpoint", fixture("policy"), "--jobs", folder("plan/jobs"), "--output", folder("results")])
        let results = try rows(of: "results")
        #expect(results.count == lines.count)
        for row in results.values {
            #expect(
                !row.completion.contains("#") && !row.completion.contains("\n")
                    && extras(row)["completion_scope"] == "response")
            #expect(row.finishReason == "stop" || row.finishReason == "length")
        }
        #expect(results.values.contains { extras($0)["stop_reason"] == "#" })
        // A flag goes for jobs as well, beside their own; a job that says something else than a list of strings is
        // refused.
        let more = try rollout.run(
            [
                "--quiet", "--checkpoint", fixture("policy"), "--jobs", folder("plan/jobs"), "--output", folder("more"),
                "--stop", "=",
            ])
        #expect(more.status == 0, "\(more.errors)")
        #expect(try rows(of: "more").values.contains { extras($0)["stop_reason"] == "=" })
        try lines[0].replacingOccurrences(of: ##""stop":["#","\n"]"##, with: ##""stop":[3]"##)
            .write(toFile: folder("bad.jsonl"), atomically: true, encoding: .utf8)
        let bad = try rollout.run([
            "--checkpoint", fixture("policy"), "--jobs", folder("bad.jsonl"), "--output", folder("bad"),
        ])
        #expect(bad.status == 3 && bad.errors.contains("line 1: found a job whose stop is"), "\(bad.errors)")
    }
}
