import Arrow
import Formats
import Foundation
import TestSupport
import Testing

/// What a dump without logits is scored by, and that every row says so.
@Suite(.serialized) struct EvidenceTests {
    private static let width = 128

    /// The fixture policy with its layers silenced: nothing is added to the embedding, so that the final hidden states
    /// are known.
    private func silentPolicy(_ folder: TemporaryDirectory) throws -> (path: String, hidden: (Int32) -> [Float]) {
        let path = folder("policy")
        try FileManager.default.copyItem(atPath: fixture("policy"), toPath: path)
        let file = try SafetensorsFile(path: path + "/model.safetensors")
        var bytes = try readBytes(path + "/model.safetensors")
        let start = bytes.count - file.header.dataBytes
        func values(_ name: String) -> [Float] {
            let tensor = file.header[name]!
            return (0..<tensor.elementCount).map { index in
                let at = start + tensor.begin + 2 * index
                return Float(bitPattern: UInt32(bytes[at]) << 16 | UInt32(bytes[at + 1]) << 24)
            }
        }
        let embedding = values("model.embed_tokens.weight"), norm = values("model.norm.weight")
        for tensor in file.header.tensors
        where tensor.name.hasSuffix("o_proj.weight") || tensor.name.hasSuffix("down_proj.weight") {
            for index in tensor.begin..<tensor.end { bytes[start + index] = 0 }
        }
        try writeBytes(bytes, to: path + "/model.safetensors")
        return (
            path,
            { token in
                let x = Array(embedding[Int(token) * Self.width..<Int(token + 1) * Self.width])
                let scale = 1 / (x.reduce(0) { $0 + Double($1) * Double($1) } / Double(Self.width) + 1e-6).squareRoot()
                return zip(x, norm).map { Float(Double($0) * scale) * $1 }
            }
        )
    }

    private func rollouts(_ count: Int) -> [TinyRollout] {
        (0..<count).map { index in
            TinyRollout(id: "r-\(index)", group: "g-\(index / 2)", prompt: 2, completion: 3 + 200 * (index % 3)).changed
            {
                $0.removeLogits()
                $0.frame.metadata["reward"] = index % 2 == 0 ? "1" : "0"
                $0.frame.metadata["temperature"] = index == 1 ? "0.7" : "1.0"
            }
        }
    }

    private func hiddenBlob(_ rollout: TinyRollout, _ hidden: (Int32) -> [Float], width: Int = Self.width) throws
        -> [UInt8]
    {
        var frame = rollout.frame
        let places = frame.lossMask.indices.filter { frame.lossMask[$0] }
        frame.hiddenStates = LogitsInfo(dtype: .f32, rows: places.count, vocabulary: width)
        let values = places.flatMap { hidden(frame.tokenIDs[$0 - 1]).prefix(width) }
        return try RolloutShardWriter.blob(frame, hiddenStates: values.withUnsafeBytes { Array($0) })
    }

    private func scores(_ pipeline: Pipeline, _ name: String) throws -> [ScoreRow] {
        try ArrowTableReader(path: pipeline.folder(name + "/scores-00000.arrow"), table: Tables.scores).rows()
    }

    @Test func hiddenStatesSayWhatTheWholeModelSays() throws {
        let pipeline = try Pipeline(), (policy, hidden) = try silentPolicy(pipeline.folder), rollouts = rollouts(6)
        for (name, blobs) in [
            ("tokens", try rollouts.map { try $0.blob() }), ("hidden", try rollouts.map { try hiddenBlob($0, hidden) }),
        ] {
            try writeShard(blobs: blobs, to: try pipeline.folder.folder("dump-" + name) + "/a.rollouts.zst")
            try pipeline.ingest([pipeline.folder("dump-" + name)], to: "ingest-" + name)
            try pipeline.score(
                ["--reward", "given", "--checkpoint", policy], from: "ingest-" + name, to: "score-" + name)
        }
        let whole = try scores(pipeline, "score-tokens"), head = try scores(pipeline, "score-hidden")
        #expect(
            whole.map(\.evidence) == rollouts.map { _ in "checkpoint" }
                && head.map(\.evidence) == rollouts.map { _ in "hidden" })
        for (a, b) in zip(head, whole) {
            #expect(firstDifference(try #require(a.entropy), try #require(b.entropy), absolute: 1e-5) == nil)
            #expect(firstDifference(try #require(a.oldLogprobs), try #require(b.oldLogprobs), absolute: 1e-5) == nil)
        }
        #expect(
            try ArrowTableReader(path: pipeline.folder("score-hidden/scores-00000.arrow"), table: Tables.scores)
                .metadata["crux.evidence"] == "hidden")
    }

    @Test func hiddenStatesNeedTheirHead() throws {
        let pipeline = try Pipeline(), (policy, hidden) = try silentPolicy(pipeline.folder)
        try writeShard(
            blobs: try rollouts(2).map { try hiddenBlob($0, hidden) },
            to: try pipeline.folder.folder("dump") + "/a.rollouts.zst")
        try writeShard(
            blobs: try rollouts(2).map { try hiddenBlob($0, hidden, width: 64) },
            to: try pipeline.folder.folder("narrow") + "/a.rollouts.zst")
        try pipeline.ingest([pipeline.folder("dump")], to: "ingest")
        try pipeline.ingest([pipeline.folder("narrow")], to: "ingest-narrow")
        func run(_ input: String, _ more: [String]) throws -> Executable.Result {
            try Executable("crux-score").run(
                [
                    "--quiet", "--reward", "given", "--input", pipeline.folder(input), "--output",
                    pipeline.folder("out"), "--overwrite",
                ] + more)
        }
        let headless = try run("ingest", [])
        #expect(headless.status == 3 && headless.errors.contains("--checkpoint"), "\(headless.errors)")
        let narrow = try run("ingest-narrow", ["--checkpoint", policy])
        #expect(
            narrow.status == 3 && narrow.errors.contains("width 64") && narrow.errors.contains("128"),
            "\(narrow.errors)")
    }

    // MARK: best log-probabilities

    /// Two best of eight, .5 and .25 for every token.
    private func topK(_ rollout: TinyRollout, _ metadata: [String: String] = [:]) -> TinyRollout {
        rollout.changed {
            let tokens = $0.frame.trainableTokens
            $0.frame.topk = 2
            $0.frame.topkTokenIDs = (0..<tokens).flatMap { _ in [Int32(0), 1] }
            $0.frame.topkLogprobs = (0..<tokens).flatMap { _ in [Float(log(0.5)), Float(log(0.25))] }
            // 0.05: outside the best unless the token is one of them.
            $0.frame.rolloutLogprobs = $0.frame.lossMask.map { $0 ? Float(log(0.05)) : 0 }
            for (key, value) in metadata { $0.frame.metadata[key] = value }
        }
    }

    private func scored(_ rollouts: [TinyRollout], _ more: [String] = []) throws -> (
        rows: [ScoreRow], counts: [String: Int]
    ) {
        let pipeline = try Pipeline()
        try writeShard(rollouts, to: try pipeline.folder.folder("dump") + "/a.rollouts.zst")
        try pipeline.ingest([pipeline.folder("dump")], to: "ingest")
        try pipeline.score(["--reward", "given"] + more)
        let manifest =
            try JSONSerialization.jsonObject(
                with: Data(contentsOf: URL(fileURLWithPath: pipeline.folder("score/manifest.json")))) as? [String: Any]
        return (try scores(pipeline, "score"), manifest?["counts"] as? [String: Int] ?? [:])
    }

    @Test func aSampledTokenOutsideTheBestNarrowsTheInterval() throws {
        let rollout = TinyRollout().changed { $0.removeLogits() }
        let (rows, counts) = try scored([
            topK(rollout, ["vocab_size": "8"]),
            topK(TinyRollout(id: "r-1").changed { $0.removeLogits() }, ["vocab_size": "8", "top_p": "0.9"]),
        ])
        #expect(counts["evidence_topk"] == 2 && rows.map(\.evidence) == ["topk", "topk"])
        // Tokens 2, 3 and 4 of the completion are none of the two best.
        for position in 2...4 {
            let known = [0.5, 0.25, 0.05], tail = 0.2, head = -known.reduce(0) { $0 + $1 * log($1) }
            #expect(isClose(Double(rows[0].entropyHigh![position]), head + tail * log(5 / tail), absolute: 2e-5))
            #expect(isClose(Double(rows[0].entropyLow![position]), head - tail * log(tail), absolute: 2e-5))
            let best = -[0.5, 0.25].reduce(0) { $0 + $1 * log($1) }
            #expect(isClose(Double(rows[1].entropyHigh![position]), best + 0.25 * log(6 / 0.25), absolute: 2e-5))
        }
    }

    // MARK: best log-probabilities that are at fault

    /// Two rollouts of five tokens, the second one's third token at fault.
    private func faulty(_ change: (inout TinyRollout, _ token: Int) -> Void) -> [TinyRollout] {
        let good = topK(TinyRollout(completion: 5).changed { $0.removeLogits() }, ["vocab_size": "8"])
        return [
            good,
            topK(TinyRollout(id: "r-1", completion: 5).changed { $0.removeLogits() }, ["vocab_size": "8"]).changed {
                change(&$0, 2)
            },
        ]
    }

    static let faults: [(name: String, change: @Sendable (inout TinyRollout, Int) -> Void)] = [
        ("none given", { $0.frame.topkLogprobs?.replaceSubrange(2 * $1..<2 * $1 + 2, with: [-9999, -9999]) }),
        ("a token twice", { $0.frame.topkTokenIDs?[2 * $1 + 1] = 0 }),
        ("beyond the vocabulary", { $0.frame.topkTokenIDs?[2 * $1] = 8 }),
        ("likelier than the last", { $0.frame.rolloutLogprobs?[2 + $1] = Float(log(0.3)) }),
        ("another rollout_logprobs", { $0.frame.topkTokenIDs?[2 * $1] = $0.frame.tokenIDs[2 + $1] }),
        ("add up to 1", { $0.frame.topkLogprobs?[2 * $1] = Float(log(0.9)) }),
    ]

    @Test(arguments: faults.indices) func aFaultyEntryCostsItsTokensInterval(_ index: Int) throws {
        let (name, change) = Self.faults[index], rollouts = faulty(change), pipeline = try Pipeline()
        try writeShard(rollouts, to: try pipeline.folder.folder("dump") + "/a.rollouts.zst")
        try pipeline.ingest([pipeline.folder("dump")], to: "ingest")
        let arguments = ["--reward", "given", "--input", pipeline.folder("ingest")], out = pipeline.folder("score")
        let result = try Executable("crux-score").run(arguments + ["--output", out]),
            rows = try scores(pipeline, "score")
        #expect(result.status == 0 && rows.map(\.evidence) == ["topk", "topk"], "\(name): \(result.errors)")
        #expect(
            result.errors.contains(name) && result.errors.contains("rollout 'r-1', position 4")
                && result.errors.contains("1 tokens"), "\(result.errors)")
        #expect((result.summary["counts"] as? [String: Any])?["topk_fault_tokens"] as? Int == 1)
        // A number more or less may tell how the others were rounded, which moves bounds by less than 1e-5.
        for position in 2...6 where position != 4 {
            for column in [\ScoreRow.entropy, \.entropyLow, \.entropyHigh] {
                let (found, expected) = (rows[1][keyPath: column]?[position], rows[0][keyPath: column]?[position])
                #expect(
                    isClose(Double(found ?? 0), Double(expected ?? 1), absolute: 1e-5), "\(name), position \(position)")
            }
        }
        // All that is known of it; and it is no fork.
        #expect(
            rows[1].entropy?[4] == 0 && rows[1].entropyLow?[4] == 0
                && isClose(Double(rows[1].entropyHigh?[4] ?? 0), log(8), absolute: 1e-6))
        // The checkpoint's own numbers don't depend on it.
        try pipeline.score(["--reward", "given", "--checkpoint", fixture("policy")], to: "exact")
        let exact = try scores(pipeline, "exact")
        #expect(
            exact.map(\.evidence) == ["checkpoint", "checkpoint"] && exact[1].entropy == exact[0].entropy
                && exact[1].verdict == exact[0].verdict)
    }

    /// The case's rollouts have one token each, so that nothing is left of their entropies, but of everything else.
    @Test func contradictionsAreNamed() throws {
        let pipeline = try Pipeline()
        try pipeline.ingest([fixture("cases/F16-topk-contradictions/dump")], to: "ingest")
        let result = try Executable("crux-score").run([
            "--reward", "given", "--input", pipeline.folder("ingest"), "--output", pipeline.folder("score"),
        ])
        let rows = Dictionary(uniqueKeysWithValues: try scores(pipeline, "score").map { ($0.rolloutID, $0) })
        for (id, said) in [
            ("outside", "likelier than the last"), ("other-lp", "another rollout_logprobs"), ("dup", "a token twice"),
        ] {
            guard let row = rows[id] else { continue }
            #expect(
                row.evidence == "none" && row.entropy == nil && row.reward != nil && row.oldLogprobs != nil
                    && result.errors.contains(said), "\(id): \(result.errors)")
        }
        #expect(result.status == 0 && rows.count >= 3)
    }

    /// Log-probabilities of four decimals: their intervals hold the entropies of the logits that they were taken from.
    @Test func textDumpsHaveHonestIntervals() throws {
        var generator = SplitMix(seed: 4)
        let logits = (0..<200).map { _ in
            (0..<64).map { _ in 3 * Double(generator.next() >> 11) / Double(1 << 53) * Double(generator.next() % 5) }
        }
        let logprobs = logits.map { row in row.map { $0 - log(row.reduce(0) { $0 + exp($1) }) } }
        let rollout = TinyRollout(prompt: 2, completion: 200).changed { rollout in
            rollout.removeLogits()
            rollout.frame.metadata["vocab_size"] = "64"
            rollout.frame.topk = 20
            let best = logprobs.map { row in row.indices.sorted { row[$0] > row[$1] }.prefix(20) }
            rollout.frame.topkTokenIDs = best.flatMap { $0.map { Int32($0) } }
            rollout.frame.topkLogprobs = zip(best, logprobs).flatMap { best, row in
                best.map { Float((row[$0] * 1e4).rounded() / 1e4) }
            }
            rollout.frame.rolloutLogprobs = nil
        }
        let row = try scored([rollout]).rows[0]
        for (t, row64) in logprobs.enumerated() {
            let entropy = Float(-row64.reduce(0) { $0 + $1 * exp($1) })
            #expect(row.entropyLow![2 + t] <= entropy && entropy <= row.entropyHigh![2 + t], "token \(t)")
        }
    }

    @Test func anotherTemperatureHasNoIntervalUnlessACheckpointSays() throws {
        let warm = topK(TinyRollout().changed { $0.removeLogits() }, ["temperature": "0.7"]),
            processed = topK(warm, ["logits_kind": "processed", "rollout_id": "r-1"])
        let cut = topK(warm, ["logits_kind": "processed", "top_k": "20", "rollout_id": "r-2"])
        let (rows, counts) = try scored([warm, processed, cut])
        #expect(
            rows.map(\.evidence) == ["none", "topk", "none"] && rows.map { $0.entropy == nil } == [true, false, true])
        #expect(counts["evidence_none"] == 2)
        let (exact, _) = try scored([warm, processed], ["--checkpoint", fixture("policy")])
        #expect(
            exact.map(\.evidence) == ["checkpoint", "checkpoint"]
                && exact.allSatisfy { $0.entropy != nil && $0.entropyLow == nil })
    }
}
