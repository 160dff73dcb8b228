import Arrow
import CKernels
import Formats
import Foundation
import StageSupport
import TestSupport
import Testing

/// Logits from dump to scores: whole and split, copied, in little memory, with what may be asked for beside the
/// entropy.
@Suite struct LogitsStageTests {
    private func scores(_ run: Pipeline, _ name: String = "score") throws -> [ScoreRow] {
        let files = try FileManager.default.contentsOfDirectory(atPath: run.folder(name)).filter {
            $0.hasSuffix(".arrow")
        }.sorted()
        return try files.flatMap {
            try ArrowTableReader(
                path: run.folder(name) + "/" + $0, table: Tables.scores.adding([Tables.sumPSquared] + Tables.topK)
            ).rows()
        }
    }

    /// A shard of rollouts with the given type of logits, whole or split.
    private func write(_ dtype: DType, split: Bool, to path: String) throws {
        let writer = try RolloutShardWriter(path: path)
        for index in 0..<6 {
            var rollout = TinyRollout(id: "r-\(index)", completion: 3 + 20 * (index % 3))
            guard let logits = rollout.frame.logits else { continue }
            rollout.frame.logits = LogitsInfo(
                dtype: dtype, rows: logits.rows, vocabulary: logits.vocabulary, isSplit: split)
            var half = [UInt16](repeating: 0, count: rollout.logits.count)
            let values = rollout.logits.enumerated().map { $1 + Float(($0 + index) % 7) * 0.37 }
            if dtype == .bf16 {
                crux_f32_to_bf16(values, &half, half.count)
            } else {
                crux_f32_to_f16(values, &half, half.count)
            }
            try writer.append(rollout.frame, logits: half.withUnsafeBytes { Array($0) })
        }
        try writer.finish()
    }

    /// Whole and split logits, copied or not, with memory for planes or without: the same scores, to the byte.
    @Test(arguments: [DType.bf16, .f16]) func allFormsGiveTheSameScores(_ dtype: DType) throws {
        let run = try Pipeline(), whole = run.folder("whole.rollouts.zst"), split = run.folder("split.rollouts.zst")
        try write(dtype, split: false, to: whole)
        try write(dtype, split: true, to: split)
        try run.ingest([whole], to: "ingest")
        try run.ingest([split], to: "ingest-split")
        try run.ingest([whole], to: "ingest-copy", ["--logits", "copy"])
        try run.ingest([split], to: "ingest-little", ["--memory", "1M", "--threads", "1"])
        try run.score()
        let expected = try scores(run)
        #expect(expected.count == 6 && expected.allSatisfy { $0.entropy?.contains { $0 > 0.1 } == true })
        for (ingest, flags) in [
            ("ingest-split", []), ("ingest-split", ["--memory", "1M"]), ("ingest-copy", []),
            ("ingest-little", ["--threads", "1"]),
        ] {
            try run.score(flags + ["--overwrite"], from: ingest, to: "other")
            #expect(try scores(run, "other") == expected, "\(ingest) \(flags)")
        }
    }

    @Test func aCopyHasSplitLogitsAndTheSameBytesForAnyThreads() throws {
        let run = try Pipeline()
        try run.ingest(fixture("dump"), ["--logits", "copy", "--threads", "1"])
        let copies = (0..<3).map { run.folder(String(format: "ingest/logits-%05d.rollouts.zst", $0)) }
        for path in copies {
            let shard = try RolloutShard(path: path)
            #expect(shard.entries.count == 64)
            let stream = try FrameStream(shard.entries[63].span, in: shard.file, place: "")
            #expect(try RolloutFrameReader.read(stream, file: path, place: "", logitsRow: nil).logits?.isSplit == true)
        }
        let expected = try contents(of: run.folder("ingest"))
        try run.ingest(fixture("dump"), ["--logits", "copy", "--threads", "2", "--overwrite"])
        #expect(try contents(of: run.folder("ingest")) == expected)
    }

    /// Nothing of a dump whose logits were copied but their storage changes: kills while copying leave a run that goes
    /// on.
    @Test func copyingGoesOnAfterAKill() throws {
        let run = try Pipeline()
        try run.ingest(fixture("dump"), ["--logits", "copy"])
        let whole = try contents(of: run.folder("ingest"))
        try KillSweep().expectSameBytes(
            "crux-ingest", { ["--quiet", "--input", fixture("dump"), "--output", $0, "--logits", "copy"] },
            in: run.folder, whole)
    }

    // MARK: one decode

    /// A rollout's blob with its tensors in another order.
    private func blob(_ rollout: TinyRollout, first names: [String]) throws -> [UInt8] {
        let blob = try rollout.blob(), length = Int(blob[0]) | Int(blob[1]) << 8
        let header = try SafetensorsHeader(json: Data(blob[8..<8 + length]), file: "", place: "")
        let tensors = header.tensors.sorted {
            (names.firstIndex(of: $0.name) ?? names.count, $0.begin)
                < (names.firstIndex(of: $1.name) ?? names.count, $1.begin)
        }
        let infos = tensors.map { TensorInfo(name: $0.name, dtype: $0.dtype, shape: $0.shape) }
        return SafetensorsHeader(laying: infos, metadata: header.metadata).encoded()
            + tensors.flatMap { blob[8 + length + $0.begin..<8 + length + $0.end] }
    }

    /// What ingest can't tell before the logits go by it leaves to score; whoever tells, the scores are the same.
    @Test(arguments: [
        ([], false, 6), (["token_ids", "logits"], false, 6), (["token_ids", "logits"], true, 0),
        (["token_ids", "loss_mask"], true, 6), (["logits"], false, 0), (["loss_mask", "logits"], false, 0),
    ]) func measuresOfIngestGiveTheSameScores(_ first: [String], _ hasGap: Bool, _ measured: Int) throws {
        let run = try Pipeline(), path = run.folder("x.rollouts.zst")
        let blobs = try (0..<6).map { index in
            var rollout = TinyRollout(id: "r-\(index)", completion: 40)
            rollout.logits = rollout.logits.indices.map { Float((rollout.logits.count * index + $0 * 37) % 101) / 16 }
            rollout.frame.metadata["temperature"] = index % 2 == 0 ? "1.0" : "0.7"
            if index == 3 { rollout.frame.values = rollout.frame.tokenIDs.map { Float($0) } }
            if hasGap { rollout.frame.lossMask.swapAt(1, 5) }
            return try blob(rollout, first: first)
        }
        try writeShard(blobs: blobs, to: path)
        try run.ingest([path], to: "ingest")
        try run.score()
        try run.ingest([path], to: "measured", ["--score"])
        #expect(try Manifest.finished(run.folder("measured"), stage: "ingest").counts["measured"] == measured)
        // What was measured needs no dump any more.
        if measured == 6 { try FileManager.default.removeItem(atPath: path) }
        try run.score(from: "measured", to: "again")
        #expect(try scores(run, "again") == scores(run))
        #expect(try scores(run).allSatisfy { $0.entropy?.contains { $0 > 0.1 } == true })
        let reports = try ["score", "again"].map {
            try Manifest.finished(run.folder($0), stage: "score").measures
        }
        #expect(reports[0] == reports[1])
    }

    /// Measuring finds the same faults as looking alone does.
    @Test(arguments: [Float.nan, .infinity, -.infinity]) func measuringRejectsWhatIsNoLogits(_ value: Float) throws {
        let run = try Pipeline(), path = run.folder("x.rollouts.zst")
        let good = TinyRollout(id: "good"), width = TinyRollout.vocabulary
        var bad = TinyRollout(id: "bad")
        // -inf is a fault where nothing else is in a row.
        for index in width..<(value == -.infinity ? 2 * width : width + 1) { bad.logits[index] = value }
        try writeShard([bad, good], to: path)
        let rejected = try [[], ["--score"]].enumerated().map { number, flags in
            try run.ingest([path], to: "ingest-\(number)", flags)
            return try ArrowTableReader(
                path: run.folder("ingest-\(number)/rejected.arrow"), table: Tables.rejected
            ).rows()
        }
        #expect(rejected[0].count == 1 && rejected[0] == rejected[1], "\(rejected)")
    }

    /// More than ingest measures takes another look at the dump.
    @Test func whatMeasuresLackIsDecodedAgain() throws {
        let run = try Pipeline()
        try run.ingest()
        try run.ingest([fixture("dump")], to: "measured", ["--score"])
        for flags in [[], ["--top-k", "3", "--sum-p-squared"]] {
            try run.score(flags + ["--overwrite"])
            try run.score(flags + ["--overwrite"], from: "measured", to: "again")
            #expect(try scores(run, "again") == scores(run))
        }
        let refused = try Executable("crux-ingest").run(
            ["--input", fixture("dump"), "--output", run.folder("x"), "--score", "--jobs", run.folder("ingest")])
        #expect(refused.status == 2, "\(refused.errors)")
    }

    /// Measures that are none of the ingest's are refused by name.
    @Test func measuresAreHeldAgainstTheirDigest() throws {
        let run = try Pipeline()
        try run.ingest([fixture("dump")], to: "ingest", ["--score"])
        let path = run.folder("ingest/measures-00000.arrow")
        var bytes = try readBytes(path)
        bytes[bytes.count / 2] ^= 1
        try writeBytes(bytes, to: path)
        let refused = try Executable("crux-score").run(
            ["--input", run.folder("ingest"), "--output", run.folder("score")])
        #expect(refused.status != 0 && refused.errors.contains("measures-00000.arrow"), "\(refused.errors)")
    }

    @Test func whatIsNotAskedForIsNotThere() throws {
        let run = try Pipeline()
        try run.ingest()
        try run.score()
        #expect(
            try scores(run).allSatisfy { $0.sumPSquared == nil && $0.topkTokenIDs == nil && $0.topkLogprobs == nil })
        try run.score(["--top-k", "3", "--sum-p-squared"], to: "more")
        var more = try scores(run, "more")
        for index in more.indices {
            (more[index].sumPSquared, more[index].topkTokenIDs, more[index].topkLogprobs) = (nil, nil, nil)
        }
        #expect(try more == scores(run))
    }

    /// Of two tokens, p and 1 - p, everything is known by hand.
    @Test func topKAndSumOfSquaresAreThoseOfTheDistribution() throws {
        let run = try Pipeline()
        var rollout = TinyRollout(id: "r", prompt: 2, completion: 2)
        rollout.frame.logits = LogitsInfo(dtype: .f32, rows: 2, vocabulary: 8)
        rollout.frame.tokenIDs = [2, 3, 1, 0]
        let impossible = [Float](repeating: -.infinity, count: 6)
        rollout.logits = [0, 1] + impossible + [2, -.infinity] + impossible
        try writeShard([rollout], to: run.folder("x.rollouts.zst"))
        try run.ingest([run.folder("x.rollouts.zst")], to: "ingest")
        try run.score(["--top-k", "3", "--sum-p-squared"])
        let row = try #require(try scores(run).first), p = 1 / (1 + exp(-1.0))
        #expect(row.topkTokenIDs == [0, 0, 0, 0, 0, 0, 1, 0, -1, 0, -1, -1])
        let logprobs = row.topkLogprobs?.map { Double($0) } ?? []
        #expect(
            logprobs.count == 12 && isClose(logprobs[6], log(p), absolute: 1e-6)
                && isClose(logprobs[7], log(1 - p), absolute: 1e-6))
        #expect(logprobs.count == 12 && logprobs[8] == -.infinity && logprobs[9] == 0 && logprobs[10] == -.infinity)
        #expect(
            firstDifference(
                (row.sumPSquared ?? []).map { Double($0) }, [0, 0, p * p + (1 - p) * (1 - p), 1], absolute: 1e-6) == nil
        )
    }

    @Test func flagsThatMakeNoSenseAreRefused() throws {
        let run = try Pipeline()
        try run.ingest()
        for flags in [["--top-k", "-1"], ["--top-k", "100000"], ["--memory", "0"], ["--memory", "much"]] {
            #expect(
                try Executable("crux-score").run(
                    ["--input", run.folder("ingest"), "--output", run.folder("score")] + flags
                ).status == 2, "\(flags)")
        }
    }
}
