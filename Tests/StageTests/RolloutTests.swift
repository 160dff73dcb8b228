import Arrow
import Formats
import Foundation
import TestSupport
import Testing
import Tokenizer

private let rollout = Executable("crux-rollout")

@Suite struct RolloutTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    private func prompts(_ count: Int = 6) throws -> String {
        let lines = try String(contentsOfFile: fixture("prompts-train.jsonl"), encoding: .utf8).split(separator: "\n")
            .prefix(count)
        try (lines.joined(separator: "\n") + "\n").write(
            toFile: folder("prompts.jsonl"), atomically: true, encoding: .utf8)
        return folder("prompts.jsonl")
    }

    private func arguments(_ output: String, _ more: [String] = []) throws -> [String] {
        [
            "--quiet", "--checkpoint", fixture("policy"), "--prompts", try prompts(), "--output", folder(output),
            "--group-size", "4", "--max-tokens", "72",
            "--rollouts-per-shard", "8", "--seed", "5",
        ] + more
    }

    private func run(_ output: String, _ more: [String] = []) throws -> Executable.Result {
        let result = try rollout.run(try arguments(output, more))
        #expect(result.status == 0, "\(result.errors)")
        return result
    }

    @Test func theSameBytesForAnyThreadsBatchAndTasks() throws {
        let result = try run("one", ["--threads", "1", "--batch", "32", "--logits"])
        #expect((result.summary["counts"] as? [String: Int])?["rollouts"] == 24)
        let whole = try contents(of: folder("one"))
        #expect(
            whole.keys.sorted() == [
                "manifest.json", "rollouts-00000.rollouts.zst", "rollouts-00001.rollouts.zst",
                "rollouts-00002.rollouts.zst",
            ])
        _ = try run("two", ["--threads", "2", "--batch", "3", "--logits"])
        #expect(try contents(of: folder("two")) == whole)
        for rank in [1, 0, 2] { _ = try run("three", ["--tasks", "3", "--rank", "\(rank)", "--logits"]) }
        #expect(try contents(of: folder("three")) == whole)
        #expect(try run("one", ["--logits"]).summary["already_done"] as? Bool == true)
        #expect(try rollout.run(try arguments("one", ["--logits", "--temperature", "0.5"])).status == 5)
    }

    @Test func aKilledRunGoesOnToTheSameBytes() throws {
        _ = try run("whole", ["--logits"])
        let whole = try contents(of: folder("whole"))
        try KillSweep().expectSameBytes(
            "crux-rollout", { try arguments(($0 as NSString).lastPathComponent, ["--logits"]) }, in: folder, whole)
    }

    @Test func ingestAndScoreTakeTheShardsWhole() throws {
        _ = try run("rollout", ["--logits", "--logits-type", "f32"])
        #expect(try ingest.run(["--quiet", "--input", folder("rollout"), "--output", folder("ingest")]).status == 0)
        let scored = try Executable("crux-score").run([
            "--input", folder("ingest"), "--output", folder("score"), "--checkpoint", fixture("policy"),
        ])
        #expect(scored.status == 0, "\(scored.errors)")
        let report = scored.summary["report"] as? [String: Any]
        // Sampler, stored logits and a full forward agree about every sampled token.
        for pair in ["logits_checkpoint_max", "logits_sampler_max", "sampler_checkpoint_max"] {
            #expect((report?[pair] as? Double ?? 1) < 1e-4, "\(pair): \(report ?? [:])")
        }
        let tokenizer = try Tokenizer(path: fixture("policy"))
        for shard in 0..<3 {
            for row in try ArrowTableReader(path: folder("ingest/rollouts-0000\(shard).arrow"), table: Tables.rollouts)
                .rows()
            {
                let start = row.lossMask.firstIndex(of: true) ?? 0
                #expect(
                    tokenizer.decode(row.tokenIDs[..<start]) == row.prompt
                        && tokenizer.decode(row.tokenIDs[start...]) == row.completion)
                #expect(
                    row.finishReason == (row.tokenIDs.last == 0 ? "stop" : "length") && row.evidence == "logits"
                        && row.temperature == 1)
                #expect(
                    row.dataSource == "openai/gsm8k" && !row.referenceAnswer.isEmpty
                        && row.rolloutID.hasPrefix(row.groupID))
            }
        }
    }

    @Test func greedyRolloutsOfAGroupAreAllTheSame() throws {
        _ = try run("greedy", ["--temperature", "0"])
        #expect(try ingest.run(["--quiet", "--input", folder("greedy"), "--output", folder("ingest")]).status == 0)
        let rows = try ArrowTableReader(path: folder("ingest/rollouts-00000.arrow"), table: Tables.rollouts).rows()
        #expect(Set(rows.filter { $0.groupID == rows[0].groupID }.map(\.tokenIDs)).count == 1)
        #expect(rows[0].temperature == 1 && rows[0].extras == #"{"greedy":"true"}"#)
    }

    /// Weights so large that logits overflow end in an error, whichever way tokens are drawn: with top-p it was a trap,
    /// without it rollouts of log-probabilities that are NaN.
    @Test(arguments: [[], ["--top-p", "0.9"], ["--top-k", "5"], ["--temperature", "0"]])
    func aPolicyWithoutADistributionIsRefused(_ drawing: [String]) throws {
        try FileManager.default.copyItem(atPath: fixture("policy"), toPath: folder("nan"))
        let weights = folder("nan/model.safetensors"), norm = try placeOfFinalNorm(weights)
        var bytes = try #require(FileManager.default.contents(atPath: weights))
        // The largest number of bf16.
        for start in stride(from: norm.lowerBound, to: norm.upperBound, by: 2) {
            bytes.replaceSubrange(start..<start + 2, with: [0x7f, 0x7f])
        }
        try bytes.write(to: URL(fileURLWithPath: weights), options: .atomic)
        var arguments = try arguments("out", drawing)
        arguments[2] = folder("nan")
        let result = try rollout.run(arguments)
        #expect(result.status == 3 && result.errors.contains("found NaN or infinity"), "\(result.errors)")
        #expect(result.errors.contains("\(folder("nan")): logits of rollout 'train-00000-00' after 0 of its tokens"))
        #expect(access(folder("out/manifest.json"), F_OK) != 0)
    }

    /// Bytes of the file.
    private func placeOfFinalNorm(_ weights: String) throws -> Range<Int> {
        let file = try SafetensorsFile(path: weights), norm = try file.tensor("model.norm.weight")
        let data = try Data(contentsOf: URL(fileURLWithPath: weights)).count - file.header.dataBytes
        return data + norm.begin..<data + norm.end
    }

    @Test func tokenIDsServeAsAPrompt() throws {
        try #"{"group_id": "g", "prompt_token_ids": [17, 16, 19, 3, 8]}"#.write(
            toFile: folder("ids.jsonl"), atomically: true, encoding: .utf8)
        let result = try rollout.run([
            "--quiet", "--checkpoint", fixture("policy"), "--prompts", folder("ids.jsonl"), "--output", folder("out"),
            "--group-size", "1",
        ])
        #expect(result.status == 0, "\(result.errors)")
        #expect(try ingest.run(["--quiet", "--input", folder("out"), "--output", folder("ingest")]).status == 0)
        let row = try #require(
            try ArrowTableReader(path: folder("ingest/rollouts-00000.arrow"), table: Tables.rollouts).rows().first)
        #expect(row.prompt == "Q: 27" && Array(row.tokenIDs.prefix(5)) == [17, 16, 19, 3, 8])
    }

    /// JSON scalars are taken as text, whatever data set they come from; what is no Unicode costs itself alone, and is
    /// said.
    @Test func promptsMayHaveNumbersForNames() throws {
        let lines = try ["q.jsonl", "q2.jsonl"].map {
            try String(contentsOfFile: fixture("cases/D01-prompt-types/" + $0), encoding: .utf8)
        }.joined()
            .replacingOccurrences(of: #""prompt":"x""#, with: #""prompt":"Q: ""#)
        let surrogate = #"{"group_id":"s","prompt":"Q\ud83d: ","reference_answer":true,"data_source":1.50}"#
        try (lines + surrogate + "\n").write(toFile: folder("q.jsonl"), atomically: true, encoding: .utf8)
        let result = try rollout.run(
            [
                "--checkpoint", fixture("policy"), "--prompts", folder("q.jsonl"), "--output", folder("out"),
                "--group-size", "1", "--max-tokens", "2",
            ])
        #expect(
            result.status == 0 && result.errors.contains("1 prompts have text with lone surrogates"), "\(result.errors)"
        )
        #expect(try ingest.run(["--quiet", "--input", folder("out"), "--output", folder("ingest")]).status == 0)
        let rows = try ArrowTableReader(path: folder("ingest/rollouts-00000.arrow"), table: Tables.rollouts).rows()
        #expect(
            rows.map(\.groupID) == ["a", "1", "s"] && rows.map(\.referenceAnswer) == ["42", "", "true"]
                && rows[2].dataSource == "1.50")
        #expect(rows[2].prompt == "Q\u{fffd}: ")
    }

    @Test(arguments: [
        (#"{"group_id": "g", "prompt": 7}"#, "prompt 7"), (#"{"group_id": ["g"], "prompt": "1"}"#, #"group_id ["g"]"#),
        (#"{"group_id": "g", "prompt": "1", "reference_answer": {"a": 1}}"#, "reference_answer"),
        ("{", "line 1: found '{'"), (#"{"group_id": "g"}"#, "no prompt"),
        (#"{"group_id": "", "prompt": "1"}"#, "no group_id"),
        (#"{"group_id": "g", "prompt": ""}"#, "an empty prompt"),
        (#"{"group_id": "g", "prompt_token_ids": [1, 32]}"#, "token id 32"),
        (
            "{\"group_id\": \"g\", \"prompt\": \"1\"}\n{\"group_id\": \"g\", \"prompt\": \"2\"}",
            "line 2: found group_id 'g' again"
        ), ("", "no prompt"),
        (#"{"group_id": "g", "prompt": "\#(String(repeating: "1", count: 256))"}"#, "256 tokens"),
    ]) func aBadPromptFileSaysWhatIsWrong(_ text: String, _ message: String) throws {
        try text.write(toFile: folder("bad.jsonl"), atomically: true, encoding: .utf8)
        let result = try rollout.run([
            "--checkpoint", fixture("policy"), "--prompts", folder("bad.jsonl"), "--output", folder("out"),
        ])
        #expect(
            result.status == 3 && result.errors.contains(message) && result.errors.contains("bad.jsonl"),
            "\(result.errors)")
    }

    @Test func flagsThatMakeNoSenseAreRefused() throws {
        for flags in [
            ["--temperature", "-1"], ["--top-p", "0"], ["--top-k", "-2"], ["--group-size", "0"], ["--jobs", "x"],
            ["--max-tokens", "0"],
        ] {
            #expect(try rollout.run(try arguments("out") + flags).status == 2, "\(flags)")
        }
        #expect(try rollout.run(["--checkpoint", fixture("policy"), "--output", folder("out")]).status == 2)
        let nowhere = try rollout.run([
            "--checkpoint", fixture("policy"), "--jobs", folder("nowhere"), "--output", folder("out"),
        ])
        #expect(nowhere.status == 3 && nowhere.errors.contains("crux-plan"))
    }
}
