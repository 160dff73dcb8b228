import Arrow
import Files
import Formats
import Foundation
import TestSupport
import Testing

let ingest = Executable("crux-ingest")

@Suite struct IngestTests {
    private let folder: TemporaryDirectory
    private var output: String { folder("out") }

    init() throws { folder = try TemporaryDirectory() }

    private func ingestFixture(into output: String, _ more: [String] = []) throws -> Executable.Result {
        try ingest.run(["--input", fixture("dump"), "--output", output] + more)
    }

    private func rows(_ shard: Int = 0) throws -> [RolloutRow] {
        try ArrowTableReader(path: output + "/rollouts-0000\(shard).arrow", table: Tables.rollouts).rows()
    }

    private func rejected() throws -> [RejectedRow] {
        try ArrowTableReader(path: output + "/rejected.arrow", table: Tables.rejected).rows()
    }

    // MARK: the fixture

    @Test func fixtureDumpIsTakenWhole() throws {
        let result = try ingestFixture(into: output)
        #expect(result.status == 0, "\(result.errors)")
        // The README of the golden data: 24 prompts x 8 rollouts, 6,095 trainable tokens.
        let counts = result.summary["counts"] as? [String: Int]
        #expect(counts == ["rollouts": 192, "rejected": 0, "trainable_tokens": 6095, "vocabulary": 32])
        #expect(result.output.split(separator: "\n").count == 1)
        let first = try #require(try rows().first)
        #expect(first.rolloutID == "add-21-0000-00" && first.groupID == "add-21-0000" && first.sampleIndex == 0)
        #expect(
            first.prompt == "Q: 27+45+27=?\nA: " && first.referenceAnswer == "99" && first.dataSource == "openai/gsm8k")
        #expect(first.finishReason == "stop" && first.temperature == 1 && first.topP == 1 && first.evidence == "logits")
        #expect(first.tokenIDs.count == 46 && first.lossMask.count { $0 } == 29 && first.rolloutLogprobs?.count == 46)
        #expect(first.extras == #"{"logits_kind":"raw"}"#)
        #expect(first.givenReward == nil && first.jobID == nil)
    }

    @Test func logitsAreLocatedWhereTheyLie() throws {
        #expect(try ingestFixture(into: output).status == 0)
        for row in try rows(2) {
            #expect(row.logitsPath == fixture("dump/rollouts-00002.rollouts.zst"))
            #expect(try rolloutID(at: row, in: row.logitsPath) == row.rolloutID)
        }
    }

    @Test func copiedLogitsOutliveTheDump() throws {
        let dump = try folder.folder("dump")
        try FileManager.default.copyItem(
            atPath: fixture("dump/rollouts-00000.rollouts.zst"), toPath: dump + "/a.rollouts.zst")
        #expect(try ingest.run(["--input", dump, "--output", output, "--logits", "copy"]).status == 0)
        try FileManager.default.removeItem(atPath: dump)
        for row in try rows() {
            #expect(row.logitsPath == "logits-00000.rollouts.zst")
            #expect(try rolloutID(at: row, in: output + "/" + row.logitsPath) == row.rolloutID)
        }
    }

    @Test func droppedLogitsLeaveNoEvidence() throws {
        #expect(try ingestFixture(into: output, ["--logits", "drop"]).status == 0)
        #expect(try rows().allSatisfy { $0.evidence == "none" && $0.logitsPath.isEmpty && $0.logitsLength == 0 })
    }

    private func rolloutID(at row: RolloutRow, in path: String) throws -> String? {
        let file = try MappedFile(path: path)
        let frame = UnsafeRawBufferPointer(
            rebasing: file.bytes[Int(row.logitsOffset)..<Int(row.logitsOffset + row.logitsLength)])
        return try withExtendedLifetime(file) {
            let stream = try FrameStream(frame, file: path, place: "")
            return try RolloutFrameReader.read(stream, file: path, place: "", logitsRow: nil).metadata["rollout_id"]
        }
    }

    @Test func tableMetadataNamesStageInputAndEvidence() throws {
        #expect(try ingestFixture(into: output).status == 0)
        let metadata = try ArrowTableReader(path: output + "/rollouts-00001.arrow", table: Tables.rollouts).metadata
        #expect(metadata["crux.stage"] == "ingest" && metadata["crux.evidence"] == "logits")
        #expect(metadata["crux.inputs"] == (try SHA256Digest.ofFile(fixture("dump/rollouts-00001.rollouts.zst"))))
    }

    // MARK: same bytes

    @Test func threadsAndTasksDoNotChangeAByte() throws {
        #expect(try ingestFixture(into: output, ["--threads", "1"]).status == 0)
        let expected = try contents(of: output)
        #expect(try ingestFixture(into: folder("two"), ["--threads", "2"]).status == 0)
        #expect(try contents(of: folder("two")) == expected)
        for rank in [2, 0, 1] {
            #expect(try ingestFixture(into: folder("tasks"), ["--tasks", "3", "--rank", "\(rank)"]).status == 0)
        }
        #expect(try contents(of: folder("tasks")) == expected)
    }

    @Test func tasksTakeTheirRankFromTheScheduler() throws {
        for rank in ["4", "5", "6"] {
            let environment = ["SLURM_ARRAY_TASK_ID": rank, "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "4"]
            let result = try ingest.run(
                ["--input", fixture("dump"), "--output", output, "--tasks", "auto"], environment: environment)
            #expect(result.status == 0)
            #expect((result.summary["waiting_for_other_tasks"] as? Bool ?? false) == (rank != "6"))
        }
        #expect(try rejected().isEmpty)
    }

    @Test func aBatchScriptOutsideOfAStepRunsAlone() throws {
        let environment = ["SLURM_PROCID": "0", "SLURM_NTASKS": "8"]
        let result = try ingest.run(
            ["--input", fixture("dump"), "--output", output, "--tasks", "auto"], environment: environment)
        #expect((result.summary["counts"] as? [String: Int])?["rollouts"] == 192)
    }

    @Test func rerunFindsNothingToDo() throws {
        #expect(try ingestFixture(into: output).status == 0)
        let before = try contents(of: output)
        let again = try ingestFixture(into: output)
        #expect(again.status == 0 && again.summary["already_done"] as? Bool == true)
        #expect(try contents(of: output) == before)
    }

    @Test func damagedOutputIsMadeAgain() throws {
        #expect(try ingestFixture(into: output).status == 0)
        let before = try contents(of: output)
        try writeBytes(readBytes(output + "/rollouts-00001.arrow").dropLast(10), to: output + "/rollouts-00001.arrow")
        #expect(try ingestFixture(into: output).status == 0)
        #expect(try contents(of: output) == before)
    }

    /// Killed at many moments and run again, the result is that of an undisturbed run. The shard is made large enough
    /// for the moments to fall into different phases; none of them needs to hit anything particular for the test to
    /// hold.
    @Test func killedAndRunAgainGivesTheSameBytes() throws {
        let dump = try folder.folder("dump")
        for shard in 0..<4 {
            try writeShard(
                (0..<300).map { TinyRollout(id: "r-\(shard * 250 + $0)", completion: 400) },
                to: dump + "/s\(shard).rollouts.zst")
        }
        let arguments = ["--input", dump, "--logits", "copy", "--output"]
        #expect(try ingest.run(arguments + [output]).status == 0)
        let expected = try contents(of: output)
        for attempt in 0..<12 {
            let target = folder("killed-\(attempt)")
            for moment in [0.005, 0.02] {
                let running = try ingest.start(arguments + [target, "--threads", "\(1 + attempt % 2)"])
                Thread.sleep(forTimeInterval: moment * Double(attempt + 1) / 2)
                running.signal(SIGKILL)
                _ = running.wait()
            }
            #expect(try ingest.run(arguments + [target]).status == 0)
            #expect(try contents(of: target) == expected, "attempt \(attempt)")
        }
    }

    @Test func aSignalEndsInExitCode75OrAFinishedDirectory() throws {
        let dump = try folder.folder("dump")
        for shard in 0..<4 {
            try writeShard(
                (0..<300).map { TinyRollout(id: "r-\(shard)-\($0)", completion: 400) },
                to: dump + "/s\(shard).rollouts.zst")
        }
        for signal in [SIGTERM, SIGINT, SIGUSR1, SIGHUP] {
            let running = try ingest.start(["--input", dump, "--output", folder("s\(signal)")])
            // Not before the handlers are there: the directory appears later than they.
            while running.isRunning, !FileManager.default.fileExists(atPath: folder("s\(signal)")) {
                Thread.sleep(forTimeInterval: 0.001)
            }
            running.signal(signal)
            let result = running.wait()
            #expect(result.status == 75 || result.status == 0)
            #expect(result.status == 0 || result.errors.contains("run the same command again"))
        }
    }

    // MARK: rows that are refused

    /// Between two good rollouts, one that breaks a rule: it alone is rejected, by its reason and name.
    private func expectRejected(_ reason: String, _ bad: [UInt8], id: String? = "bad") throws {
        let shard = folder("x.rollouts.zst")
        try writeShard(blobs: [TinyRollout(id: "a").blob(), bad, TinyRollout(id: "z").blob()], to: shard)
        let result = try ingest.run(["--input", shard, "--output", output])
        #expect(result.status == 0, "\(result.errors)")
        #expect(try rows().map(\.rolloutID) == ["a", "z"])
        let rejections = try rejected()
        #expect(rejections.map(\.reason) == [reason], "\(rejections)")
        #expect(rejections.map(\.rolloutID) == [id])
        #expect(rejections.map(\.frameIndex) == [1] && rejections.map(\.shard) == ["x.rollouts.zst"])
        #expect(rejections.allSatisfy { $0.detail.hasPrefix("found ") && $0.detail.contains("expected ") })
        #expect(rejections.map(\.frameOffset) == [Int64(try frameOffsets(of: shard)[1])])
        #expect((result.summary["counts"] as? [String: Int])?["rejected_\(reason)"] == 1)
    }

    private struct Fault: Sendable, CustomTestStringConvertible {
        let reason: String
        let what: String
        let change: @Sendable (inout TinyRollout) -> Void
        var testDescription: String { "\(reason): \(what)" }

        init(_ reason: String, _ what: String, _ change: @escaping @Sendable (inout TinyRollout) -> Void) {
            (self.reason, self.what, self.change) = (reason, what, change)
        }
    }

    private static let faults: [Fault] = [
        Fault("missing_metadata", "no group") { $0.frame.metadata["group_id"] = nil },
        Fault("invalid_value", "sample index") { $0.frame.metadata["sample_index"] = "first" },
        Fault("invalid_value", "temperature 0") { $0.frame.metadata["temperature"] = "0" },
        Fault("invalid_value", "temperature NaN") { $0.frame.metadata["temperature"] = "nan" },
        Fault("invalid_value", "temperature below 0") { $0.frame.metadata["temperature"] = "-1" },
        Fault("invalid_value", "top_p above 1") { $0.frame.metadata["top_p"] = "1.5" },
        Fault("invalid_value", "reward") { $0.frame.metadata["reward"] = "good" },
        Fault("length_mismatch", "short mask") { $0.frame.lossMask.removeLast() },
        Fault("length_mismatch", "long mask") { $0.frame.lossMask.append(true) },
        Fault("length_mismatch", "short logprobs") { $0.frame.rolloutLogprobs?.removeLast() },
        Fault("length_mismatch", "short values") { $0.frame.values = [1] },
        Fault("length_mismatch", "short reference") { $0.frame.referenceLogprobs = [-1] },
        Fault("length_mismatch", "logits rows") {
            $0.frame.logits = LogitsInfo(dtype: .f32, rows: 2, vocabulary: TinyRollout.vocabulary)
            $0.logits.removeLast(TinyRollout.vocabulary)
        },
        Fault("wrong_dtype", "integer logits") {
            $0.frame.logits = LogitsInfo(dtype: .i32, rows: 3, vocabulary: TinyRollout.vocabulary)
        },
        Fault("wrong_shape", "more logits rows than tokens") {
            $0.frame.logits = LogitsInfo(dtype: .f32, rows: 24, vocabulary: 1)
        },
        Fault("token_out_of_vocabulary", "in the completion") { $0.frame.tokenIDs[4] = Int32(TinyRollout.vocabulary) },
        Fault("token_out_of_vocabulary", "in the prompt") { $0.frame.tokenIDs[0] = 100 },
        Fault("invalid_token_id", "negative") { $0.frame.tokenIDs[1] = -1 },
        Fault("nan_logits", "one NaN") { $0.logits[13] = .nan },
        Fault("infinite_logits", "+inf") { $0.logits[13] = .infinity },
        Fault("empty_logits", "a row of -inf") { for index in 8..<16 { $0.logits[index] = -.infinity } },
        Fault("no_trainable_token", "mask of zeros") {
            $0.frame.lossMask = $0.frame.lossMask.map { _ in false }
            $0.removeLogits()
        },
        Fault("first_token_trainable", "mask 1 at 0") {
            $0.frame.lossMask = [true, false, true, true, false]
        },
        Fault("invalid_logprob", "NaN") { $0.frame.rolloutLogprobs?[3] = .nan },
        Fault("invalid_logprob", "positive") { $0.frame.rolloutLogprobs?[3] = 0.1 },
        Fault("invalid_logprob", "-9999, an engine's word for none") { $0.frame.rolloutLogprobs?[3] = -9999 },
        Fault("invalid_logprob", "reference -9999") { $0.frame.referenceLogprobs = [0, 0, 0, 0, -9999] },
        Fault("engine_error", "aborted") { $0.frame.metadata["finish_reason"] = "abort" },
        Fault("engine_error", "failed") { $0.frame.metadata["finish_reason"] = "error" },
        Fault("invalid_logprob", "reference -inf") { $0.frame.referenceLogprobs = [0, 0, 0, 0, -.infinity] },
        Fault("invalid_value", "value NaN") { $0.frame.values = [0, 0, .nan, 0, 0] },
        Fault("missing_tensor", "half of the top-k pair") {
            $0.frame.topk = 1
            $0.frame.topkTokenIDs = [1, 2, 3]
        },
        Fault("wrong_shape", "unequal top-k pair") {
            $0.frame.topk = 1
            $0.frame.topkTokenIDs = [1, 2, 3]
            $0.frame.topkLogprobs = [-1, -1, -1, -1]
        },
        Fault("length_mismatch", "top-k rows") {
            $0.frame.topk = 1
            $0.frame.topkTokenIDs = [1, 2]
            $0.frame.topkLogprobs = [-1, -1]
        },
        Fault("invalid_token_id", "top-k id") {
            $0.frame.topk = 1
            $0.frame.topkTokenIDs = [1, -2, 3]
            $0.frame.topkLogprobs = [-1, -1, -1]
        },
        Fault("invalid_logprob", "top-k NaN") {
            $0.frame.topk = 1
            $0.frame.topkTokenIDs = [1, 2, 3]
            $0.frame.topkLogprobs = [-1, .nan, -1]
        },
    ]

    @Test(arguments: faults.indices)
    func rolloutThatBreaksARuleIsRejectedAlone(index: Int) throws {
        let fault = Self.faults[index]
        try expectRejected(fault.reason, try TinyRollout(id: "bad").changed(fault.change).blob())
    }

    @Test func rolloutWithoutIDIsRejected() throws {
        try expectRejected(
            "missing_metadata", try TinyRollout().changed { $0.frame.metadata["rollout_id"] = nil }.blob(), id: nil)
    }

    @Test func idTwiceInAShardKeepsTheFirst() throws {
        try expectRejected("duplicate_rollout_id", try TinyRollout(id: "a").blob(), id: "a")
    }

    @Test func blobThatIsNoSafetensorsIsRejected() throws {
        try expectRejected("invalid_safetensors", [UInt8](repeating: 65, count: 300), id: nil)
    }

    @Test func blobLongerThanDeclaredIsRejected() throws {
        try expectRejected("blob_longer_than_declared", try TinyRollout(id: "bad").blob() + [0])
    }

    @Test func blobShorterThanDeclaredIsRejected() throws {
        try expectRejected("blob_shorter_than_declared", try TinyRollout(id: "bad").blob().dropLast())
    }

    @Test func maskEntryOfTwoIsRejected() throws {
        // The mask is the last tensor of the blob.
        var blob = try TinyRollout(id: "bad").blob()
        blob[blob.count - 1] = 2
        try expectRejected("invalid_value", blob)
    }

    @Test func vocabularyOfATokenIsTheWidthOfTheLogits() throws {
        try writeShard([TinyRollout().changed { $0.frame.tokenIDs[4] = 7 }], to: folder("x.rollouts.zst"))
        #expect(try ingest.run(["--input", folder("x.rollouts.zst"), "--output", output]).status == 0)
    }

    @Test func impossibleTokensMayHaveMinusInfinity() throws {
        try writeShard([TinyRollout().changed { $0.logits[3] = -.infinity }], to: folder("x.rollouts.zst"))
        #expect(try ingest.run(["--input", folder("x.rollouts.zst"), "--output", output]).status == 0)
    }

    @Test func flippedBitInTheDataIsAChecksumMismatch() throws {
        let path = folder("x.rollouts.zst")
        try writeShard((0..<3).map { TinyRollout(id: "r-\($0)") }, to: path)
        var bytes = try readBytes(path)
        // The checksum itself: the last four bytes of the second frame.
        bytes[try frameOffsets(of: path)[2] - 1] ^= 1
        try writeBytes(bytes, to: path)
        #expect(try ingest.run(["--input", path, "--output", output]).status == 0)
        #expect(try rows().map(\.rolloutID) == ["r-0", "r-2"])
        #expect(try rejected().map(\.reason) == ["checksum_mismatch"])
    }

    @Test func truncatedShardLosesItsLastRollout() throws {
        let path = folder("x.rollouts.zst")
        try writeShard((0..<3).map { TinyRollout(id: "r-\($0)") }, to: path)
        try writeBytes(readBytes(path).dropLast(7), to: path)
        #expect(try ingest.run(["--input", path, "--output", output]).status == 0)
        #expect(try rows().map(\.rolloutID) == ["r-0", "r-1"])
        #expect(try rejected().map(\.reason) == ["truncated_frame"])
    }

    /// From every one of these beginnings a walk by block headers leads through all that follows, to no end: three
    /// bytes of zero are the header of an empty block that is not the last. Without a limit of what is read in vain,
    /// this takes minutes for megabytes and hours for more.
    @Test func beginningsWithoutAnEndCostBoundedTime() throws {
        let path = folder("x.rollouts.zst"), beginning: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0, 0x58, 0, 0, 0]
        try writeShard([TinyRollout(id: "good")], to: path)
        let many = (0..<10_000).flatMap { _ in beginning }
        try writeBytes(readBytes(path) + many + [UInt8](repeating: 0, count: 12 << 20), to: path)
        #expect(try ingest.run(["--input", path, "--output", output]).status == 0)
        #expect(try rows().map(\.rolloutID) == ["good"])
        #expect(try rejected().map(\.reason) == ["truncated_frame"])
    }

    // MARK: across shards

    @Test func theFirstShardKeepsAnIDThatSeveralHave() throws {
        try writeShard([TinyRollout(id: "a"), TinyRollout(id: "b")], to: folder("0.rollouts.zst"))
        try writeShard(
            [TinyRollout(id: "c"), TinyRollout(id: "a"), TinyRollout(id: "d")], to: folder("1.rollouts.zst"))
        let arguments = ["--input", folder("0.rollouts.zst"), folder("1.rollouts.zst"), "--output"]
        let result = try ingest.run(arguments + [output])
        #expect(result.status == 0)
        #expect(try rows(0).map(\.rolloutID) == ["a", "b"] && rows(1).map(\.rolloutID) == ["c", "d"])
        let rejection = try #require(try rejected().first)
        #expect(
            rejection.reason == "duplicate_rollout_id" && rejection.frameIndex == 1
                && rejection.shard == "1.rollouts.zst")
        #expect(rejection.frameOffset == Int64(try frameOffsets(of: folder("1.rollouts.zst"))[1]))
        // 3 trainable tokens in each of the four that stay.
        #expect((result.summary["counts"] as? [String: Int])?["trainable_tokens"] == 12)
        for rank in 0..<2 { _ = try ingest.run(arguments + [folder("tasks"), "--tasks", "2", "--rank", "\(rank)"]) }
        #expect(try contents(of: folder("tasks")) == contents(of: output))
    }

    @Test func mixedEvidenceStandsInTheMetadata() throws {
        let path = folder("x.rollouts.zst")
        try writeShard([TinyRollout(id: "a"), TinyRollout(id: "b").changed { $0.removeLogits() }], to: path)
        #expect(try ingest.run(["--input", path, "--output", output]).status == 0)
        let table = try ArrowTableReader(path: output + "/rollouts-00000.arrow", table: Tables.rollouts)
        #expect(table.metadata["crux.evidence"] == "logits none")
        #expect(try table.rows().map(\.evidence) == ["logits", "none"])
        #expect(try rows()[1].logitsPath.isEmpty)
    }

    @Test func unknownMetadataAreKeptAsJSON() throws {
        try writeShard(
            [
                TinyRollout().changed {
                    $0.frame.metadata["zeta"] = "1"; $0.frame.metadata["alpha"] = "a/\"b\""
                }
            ], to: folder("x.rollouts.zst"))
        #expect(try ingest.run(["--input", folder("x.rollouts.zst"), "--output", output]).status == 0)
        #expect(try rows()[0].extras == #"{"alpha":"a/\"b\"","zeta":"1"}"#)
    }

    @Test func givenRewardAndJobAreColumns() throws {
        try writeShard(
            [
                TinyRollout().changed {
                    $0.frame.metadata["reward"] = "-0.5"; $0.frame.metadata["job_id"] = "j7"
                }
            ], to: folder("x.rollouts.zst"))
        #expect(try ingest.run(["--input", folder("x.rollouts.zst"), "--output", output]).status == 0)
        #expect(try rows()[0].givenReward == -0.5 && rows()[0].jobID == "j7")
    }

    // MARK: runs that are refused

    private func expectRefused(
        _ status: Int32, _ arguments: [String], _ words: String..., sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let result = try ingest.run(arguments)
        #expect(result.status == status, "\(result.errors)", sourceLocation: sourceLocation)
        for word in words { #expect(result.errors.contains(word), "\(result.errors)", sourceLocation: sourceLocation) }
        #expect(!FileManager.default.fileExists(atPath: output + "/manifest.json"), sourceLocation: sourceLocation)
    }

    @Test func usageErrorsExitWith2() throws {
        try expectRefused(2, ["--output", output], "--input")
        try expectRefused(
            2, ["--input", "x", "--output", output, "--format", "parquet"], "parquet", "shards", "prime_rl")
        try expectRefused(2, ["--input", "x", "--output", output, "--logits", "keep"], "reference")
        try expectRefused(2, ["--input", "x", "--output", output, "--tasks", "2"], "--rank")
        try expectRefused(2, ["--input", "x", "--output", output, "--tasks", "2", "--rank", "2"], "--rank")
        try expectRefused(2, ["--input", "x", "--output", output, "--rank", "1"], "--tasks")
        try expectRefused(2, ["--input", "x", "--output", output, "--threads", "0"], "--threads")
        // Also where twice the number, or its square, is none any more.
        for huge in ["9223372036854775807", "4611686018427387904", "1000000", "9223372036854775808"] {
            try expectRefused(2, ["--input", fixture("dump"), "--output", output, "--threads", huge], "--threads")
        }
    }

    @Test func emptyFolderIsInvalidInput() throws {
        try expectRefused(3, ["--input", try folder.folder("empty"), "--output", output], "rollouts.zst")
    }

    @Test func dumpWithoutAnyRolloutIsInvalidInput() throws {
        try writeBytes([], to: folder("x.rollouts.zst"))
        try expectRefused(3, ["--input", folder("x.rollouts.zst"), "--output", output], "no valid rollout")
        try writeShard([TinyRollout().changed { $0.logits[0] = .nan }], to: folder("y.rollouts.zst"))
        try expectRefused(
            3, ["--input", folder("y.rollouts.zst"), "--output", folder("out2")], "no valid rollout", "nan_logits")
    }

    @Test func tooManyRejectedIsInvalidInput() throws {
        try writeShard(
            [TinyRollout(id: "a"), TinyRollout(id: "a"), TinyRollout(id: "a")], to: folder("x.rollouts.zst"))
        let arguments = ["--input", folder("x.rollouts.zst"), "--output", output, "--max-rejected"]
        try expectRefused(3, arguments + ["1"], "2 rejected", "duplicate_rollout_id")
        #expect(try ingest.run(arguments + ["2"]).status == 0)
    }

    @Test func aShardThatIsNotThereFailsAloneAndIsRetried() throws {
        try writeShard([TinyRollout(id: "a")], to: folder("0.rollouts.zst"))
        let arguments = ["--input", folder("0.rollouts.zst"), folder("2.rollouts.zst"), "--output", output]
        let first = try ingest.run(arguments)
        #expect(first.status == 1)
        #expect(first.summary["failed_shards"] as? [String] == [folder("2.rollouts.zst")])
        #expect(try rows(0).count == 1)
        #expect(!FileManager.default.fileExists(atPath: output + "/manifest.json"))
        try writeShard([TinyRollout(id: "c")], to: folder("2.rollouts.zst"))
        #expect(try ingest.run(arguments).status == 0)
        #expect(try rows(1).map(\.rolloutID) == ["c"])
    }

    /// No shard passes unmentioned, and none holds the others back.
    @Test func shardsWithoutARolloutAreRejectedAndTheOthersGoOn() throws {
        let dump = try folder.folder("dump")
        try writeShard([TinyRollout(id: "a")], to: dump + "/0.rollouts.zst")
        try writeBytes(Array("<html>not found</html>".utf8), to: dump + "/1.rollouts.zst")
        try writeBytes([], to: dump + "/2.rollouts.zst")
        // A skippable frame (RFC 8878, 3.1.2) of four bytes alone.
        try writeBytes([0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4], to: dump + "/3.rollouts.zst")
        try writeBytes([0x28, 0xb5, 0x2f, 0xfd, 0x24], to: dump + "/4.rollouts.zst")
        let arguments = ["--input", dump, "--output", output]
        let result = try ingest.run(arguments)
        #expect(result.status == 0, "\(result.errors)")
        #expect(try rejected().map(\.reason) == ["no_frame", "empty_shard", "empty_shard", "truncated_frame"])
        #expect(
            try rejected().map(\.shard) == ["1.rollouts.zst", "2.rollouts.zst", "3.rollouts.zst", "4.rollouts.zst"])
        #expect(result.errors.contains("no_frame") && result.errors.contains("22 bytes"), "\(result.errors)")
        #expect(try ingest.run(arguments).summary["already_done"] as? Bool == true)
        #expect(try Executable("crux-score").run(["--input", output, "--output", folder("score")]).status == 0)
        for rank in [1, 0] {
            _ = try ingest.run(["--input", dump, "--output", folder("tasks"), "--tasks", "2", "--rank", "\(rank)"])
        }
        #expect(try contents(of: folder("tasks")) == contents(of: output))
    }

    @Test func emptyFilesOfLinesAreMentioned() throws {
        try writeBytes(Array("\n \n".utf8), to: folder("0.jsonl"))
        try writeBytes(
            Array(#"{"input_ids":[1],"text":"4","output_ids":[5],"meta_info":{"id":"good"}}"#.utf8) + [0x0a],
            to: folder("1.jsonl"))
        #expect(try ingest.run(["--input", folder("0.jsonl"), folder("1.jsonl"), "--output", output]).status == 0)
        #expect(try rejected().map(\.reason) == ["empty_shard"] && rejected()[0].detail.contains("3 bytes"))
    }

    @Test func aShardCopiedAgainIsRejectedWhole() throws {
        let dump = try folder.folder("dump")
        for name in ["a", "b"] {
            try writeShard([TinyRollout(id: "1"), TinyRollout(id: "2")], to: dump + "/\(name).rollouts.zst")
        }
        for mode in ["reference", "copy"] {
            let result = try ingest.run(["--input", dump, "--output", folder(mode), "--logits", mode])
            #expect(result.status == 0, "\(result.errors)")
            let counts = result.summary["counts"] as? [String: Int]
            #expect(
                counts?["rollouts"] == 2 && counts?["rejected_duplicate_rollout_id"] == 2
                    && counts?["trainable_tokens"] == 6)
            #expect(result.errors.contains("b.rollouts.zst: nothing of it is taken, 2 rejected"), "\(result.errors)")
            #expect(result.errors.contains("again after a.rollouts.zst"), "\(result.errors)")
            let score = try Executable("crux-score").run(["--input", folder(mode), "--output", folder(mode + "-score")])
            #expect(score.status == 0, "\(score.errors)")
        }
    }

    /// What isn't there may be a folder whose files nobody knows yet: nothing is begun without them.
    @Test func aFolderThatAppearsLateIsAPlainErrorAndTheNextRunGoesOn() throws {
        try writeShard([TinyRollout(id: "a")], to: folder("0.rollouts.zst"))
        let arguments = ["--input", folder("0.rollouts.zst"), folder("late"), "--output", output]
        try expectRefused(3, arguments, "late", "no such file or folder", "run the same command again")
        #expect(!FileManager.default.fileExists(atPath: output))
        let late = try folder.folder("late")
        try expectRefused(3, arguments, "no *.rollouts.zst")
        for name in ["x", "y"] { try writeShard([TinyRollout(id: name)], to: late + "/\(name).rollouts.zst") }
        let result = try ingest.run(arguments)
        #expect(
            result.status == 0 && (result.summary["counts"] as? [String: Int])?["rollouts"] == 3, "\(result.errors)")
    }

    /// What is written there would be input the next time.
    @Test func theInputsOwnFolderIsNoOutputForCopies() throws {
        let dump = try folder.folder("dump")
        try writeShard([TinyRollout(id: "a")], to: dump + "/0.rollouts.zst")
        try FileManager.default.createSymbolicLink(atPath: folder("link"), withDestinationPath: dump)
        let before = try contents(of: dump)
        for output in [dump, dump + "/.", folder("link")] {
            let result = try ingest.run(["--input", dump, "--output", output, "--logits", "copy"])
            #expect(result.status == 2 && result.errors.contains("another --output"), "\(result.errors)")
        }
        #expect(try contents(of: dump) == before)
        let lines = try folder.folder("lines")
        try writeBytes(
            Array(#"{"input_ids":[1],"text":"4","output_ids":[5],"meta_info":{"id":"good"}}"#.utf8),
            to: lines + "/x.jsonl")
        #expect(try ingest.run(["--input", lines, "--output", lines]).status == 2)
    }

    @Test func noReadableShardIsInvalidInput() throws {
        try expectRefused(3, ["--input", folder("missing"), "--output", output], "missing")
    }

    @Test func anotherConfigurationExitsWith5AndOverwriteHelps() throws {
        #expect(try ingestFixture(into: output).status == 0)
        let refused = try ingestFixture(into: output, ["--logits", "drop"])
        #expect(refused.status == 5)
        #expect(refused.errors.contains("logits was reference, now drop"))
        #expect(try ingestFixture(into: output, ["--logits", "drop", "--overwrite"]).status == 0)
        #expect(try rows()[0].evidence == "none")
    }

    @Test func changedInputExitsWith5() throws {
        let path = folder("x.rollouts.zst")
        try writeShard([TinyRollout(id: "a")], to: path)
        #expect(try ingest.run(["--input", path, "--output", output]).status == 0)
        try writeShard([TinyRollout(id: "b")], to: path)
        let refused = try ingest.run(["--input", path, "--output", output])
        #expect(refused.status == 5 && refused.errors.contains("x.rollouts.zst"))
    }

    @Test func fullDiskExitsWith4AndLosesNothing() throws {
        // 40 blocks of 512 bytes hold less than the first table; a later run with room finishes.
        let full = try ingest.run(["--input", fixture("dump"), "--output", output], fileSizeLimit: 40)
        #expect(full.status == 4, "\(full.errors)")
        #expect(full.errors.contains("could not write"))
        #expect(try contents(of: output).keys.allSatisfy { !$0.contains("arrow") })
        #expect(try ingestFixture(into: output).status == 0)
    }

    @Test func dryRunWritesNothing() throws {
        #expect(try ingestFixture(into: output, ["--dry-run"]).status == 0)
        #expect(!FileManager.default.fileExists(atPath: output))
    }

    @Test func logLinesAreJSONOnRequest() throws {
        let result = try ingestFixture(into: output, ["--log-format", "json"])
        let lines = result.errors.split(separator: "\n")
        #expect(!lines.isEmpty)
        for line in lines { #expect((try? JSONSerialization.jsonObject(with: Data(line.utf8))) is [String: Any]) }
    }

    @Test func quietRunSaysNothingOnStderr() throws {
        #expect(try ingestFixture(into: output, ["--quiet"]).errors.isEmpty)
    }
}
