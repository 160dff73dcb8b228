import Arrow
import Formats
import Foundation
import Models
import TestSupport
import Testing

private let rollout = Executable("crux-rollout")

/// Checkpoints of other people, through the executables.
@Suite struct CheckpointStageTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    private func prompts(_ lines: [[String: Any]]) throws -> String {
        let text = try lines.map { String(decoding: try JSONSerialization.data(withJSONObject: $0), as: UTF8.self) }
        try (text.joined(separator: "\n") + "\n").write(
            toFile: folder("prompts.jsonl"), atomically: true, encoding: .utf8)
        return folder("prompts.jsonl")
    }

    private func run(_ checkpoint: String, _ lines: [[String: Any]], _ more: [String] = []) throws -> Executable.Result
    {
        let source = [
            "--checkpoint", checkpoint, "--prompts", try prompts(lines), "--output", folder("out"), "--overwrite",
        ]
        return try rollout.run(source + ["--group-size", "2", "--max-tokens", "12"] + more)
    }

    private func frames() throws -> [RolloutFrame] {
        let shard = try RolloutShard(path: folder("out/rollouts-00000.rollouts.zst"))
        return try shard.entries.map { entry in
            let stream = try FrameStream(entry.span, in: shard.file, place: "frame")
            return try RolloutFrameReader.read(stream, file: shard.file.path, place: "frame", logitsRow: nil)
        }
    }

    private let ids: [[String: Any]] = [["group_id": "g", "prompt_token_ids": [3, 8, 11, 5, 6]]]

    /// Sizes of 1e18 ended in a trap (132) or took all memory (134).
    @Test(arguments: ["config-head_dim-1e18", "config-hidden-1e18", "config-layers-1e12", "config-vocab-9e18"])
    func hostileSizesEndInAMessage(_ name: String) throws {
        let place = try folder.folder(name), source = fixture("cases/faults/\(name)/ck")
        for file in try FileManager.default.contentsOfDirectory(atPath: source) {
            try FileManager.default.copyItem(atPath: source + "/" + file, toPath: place + "/" + file)
        }
        try FileManager.default.copyItem(
            atPath: fixture("policy/model.safetensors"), toPath: place + "/model.safetensors")
        let result = try run(place, ids)
        #expect(result.status == 3 && result.errors.contains("config.json: key "), "\(result.status) \(result.errors)")
    }

    @Test func aChatPromptBeginsOnce() throws {
        let path = fixture("cases/B01-bos-twice"),
            lines = try String(contentsOfFile: path + "/p.jsonl", encoding: .utf8).split(separator: "\n")
        let objects = try lines.map {
            try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
        }
        func heads(_ rule: [String]) throws -> [[Int32]] {
            let result = try run(path, objects, ["--quiet"] + rule)
            try #require(result.status == 0, "\(result.errors)")
            return try frames().filter { $0.metadata["sample_index"] == "0" }.map { Array($0.tokenIDs.prefix(2)) }
        }
        #expect(try heads([]) == [[700, 702], [700, 54]])
        #expect(try heads(["--add-special-tokens", "auto"]) == [[700, 702], [700, 54]])
        #expect(try heads(["--add-special-tokens", "always"]) == [[700, 700], [700, 54]])
        #expect(try heads(["--add-special-tokens", "never"]) == [[700, 702], [54, 319]])
    }

    @Test func damagedTextFilesAreRefusedAndCountAsInputs() throws {
        for (name, damage) in [
            ("generation_config.json", "{"), ("tokenizer.json", "{\"model\": 1"), ("tokenizer_config.json", "[]"),
        ] {
            let place = try folder.folder("damaged-" + name)
            for file in [
                "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
            ] {
                try FileManager.default.copyItem(atPath: fixture("policy/" + file), toPath: place + "/" + file)
            }
            #expect(try run(place, ids).status == 0)
            let manifest = try String(contentsOfFile: folder("out/manifest.json"), encoding: .utf8)
            #expect(manifest.contains("/\(name)"), "\(name)")
            try damage.write(toFile: place + "/" + name, atomically: true, encoding: .utf8)
            for more in [[], ["--dry-run"]] {
                let result = try run(place, ids, more)
                #expect(result.status == 3 && result.errors.contains(name), "\(result.errors)")
            }
        }
    }

    @Test func tiedButOwnHeadThroughTheStages() throws {
        let path = fixture("cases/C01-tied-but-own-head")
        let sampled = try run(path, ids, ["--logits", "--logits-type", "f32"])
        try #require(sampled.status == 0 && sampled.errors.contains("tie_word_embeddings"), "\(sampled.errors)")
        try #require(
            try Executable("crux-ingest").run(["--quiet", "--input", folder("out"), "--output", folder("ingest")])
                .status == 0)
        let scored = try Executable("crux-score").run([
            "--input", folder("ingest"), "--output", folder("score"), "--checkpoint", path,
        ])
        try #require(scored.status == 0 && scored.errors.contains("tie_word_embeddings"), "\(scored.errors)")
        let report = scored.summary["report"] as? [String: Any]
        for pair in ["logits_checkpoint_max", "sampler_checkpoint_max"] {
            #expect((report?[pair] as? Double ?? 1) < 1e-4, "\(report ?? [:])")
        }
    }

    // MARK: stored logits

    @Test func storedLogitsAreFloat16UnlessAskedOtherwise() throws {
        for (flags, name) in [([], "f16"), (["--logits-type", "bf16"], "bf16"), (["--logits-type", "f16"], "f16")]
            as [([String], String)]
        {
            #expect(try run(fixture("policy"), ids, ["--logits"] + flags).status == 0)
            #expect(try frames().allSatisfy { $0.metadata["logits_dtype"] == name }, "\(flags)")
        }
    }

    /// A head a thousand times as large: logits reach beyond 65504, which float16 would make infinite.
    @Test func logitsBeyondFloat16AreStoredInBfloat16AndSaid() throws {
        let checkpoint = try Checkpoint(directory: fixture("cases/C01-tied-but-own-head")),
            parameters = try checkpoint.loadParameters()
        let head = try #require(checkpoint.layout["lm_head.weight"])
        for place in head.range { parameters.pointer[place] *= 300_000 }
        try checkpoint.save(parameters, to: try folder.folder("large"))
        let result = try run(folder("large"), ids, ["--logits"])
        try #require(result.status == 0, "\(result.errors)")
        #expect(result.errors.contains("rollouts have logits beyond 65504"), "\(result.errors)")
        #expect(try frames().allSatisfy { $0.metadata["logits_dtype"] == "bf16" })
        try #require(
            try Executable("crux-ingest").run(["--quiet", "--input", folder("out"), "--output", folder("ingest")])
                .status == 0)
        let rows = try ArrowTableReader(path: folder("ingest/rollouts-00000.arrow"), table: Tables.rollouts).rows()
        #expect(rows.count == 2 && rows.allSatisfy { $0.evidence == "logits" })
    }
}
