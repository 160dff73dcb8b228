import Files
import Formats
import Foundation
import TestSupport
import Testing

/// Shards that are too large for a digest of one thread.
@Suite struct LargeShardTests {
    private let folder: TemporaryDirectory
    private let vocabulary = 150_000
    private let tokens = 240

    init() throws {
        folder = try TemporaryDirectory()
        try FileManager.default.createDirectory(atPath: folder("dump"), withIntermediateDirectories: true)
    }

    private var shard: String { folder("dump/large.rollouts.zst") }

    /// Logits of so many different bits that they don't get small: float16 between 1 and 2.
    private func makeShard() throws {
        var frame = RolloutFrame()
        frame.metadata = ["rollout_id": "r", "group_id": "g", "reward": "1"]
        frame.tokenIDs = (0...Int32(tokens)).map { $0 }
        frame.lossMask = frame.tokenIDs.map { $0 > 0 }
        frame.rolloutLogprobs = frame.lossMask.map { $0 ? -12 : 0 }
        frame.logits = LogitsInfo(dtype: .f16, rows: tokens, vocabulary: vocabulary)
        var state: UInt64 = 1
        let logits = (0..<tokens * vocabulary).map { _ in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return 0x3c00 | UInt16(truncatingIfNeeded: state >> 54)
        }
        let writer = try RolloutShardWriter(path: shard)
        for id in ["r", "s"] {
            frame.metadata["rollout_id"] = id
            try writer.append(frame, logits: logits.withUnsafeBytes { Array($0) })
        }
        try writer.finish()
    }

    private func ingest(_ more: [String] = []) throws -> Executable.Result {
        try Executable("crux-ingest").run(
            ["--quiet", "--input", folder("dump"), "--output", folder("run/ingest"), "--score"] + more)
    }

    private func input() throws -> [String: Any] {
        let manifest =
            try JSONSerialization.jsonObject(
                with: Data(contentsOf: URL(fileURLWithPath: folder("run/ingest/manifest.json")))) as? [String: Any]
        return (manifest?["inputs"] as? [[String: Any]])?.first ?? [:]
    }

    @Test func aLargeShardIsKnownByTheDigestOfItsPieces() throws {
        try makeShard()
        let (bytes, digest) = try lengthAndDigest()
        #expect(bytes >= PiecewiseDigest.largeFileBytes)
        #expect(try ingest().status == 0)
        #expect(try input()["xxh128_pieces"] as? String == digest && input()["sha256"] == nil)
        #expect(try ingest(["--threads", "1"]).summary["already_done"] as? Bool == true)
        // Moved together with the run: known by its digest, not by its place.
        try FileManager.default.moveItem(atPath: folder("dump"), toPath: folder("run/dump"))
        let score = try Executable("crux-score").run(
            ["--quiet", "--input", folder("run/ingest"), "--output", folder("run/score"), "--sum-p-squared"])
        #expect(score.status == 0, "\(score.errors)")
        try FileManager.default.moveItem(atPath: folder("run/dump"), toPath: folder("dump"))
        // A byte in its last piece: another shard of the same length and name.
        try change(at: bytes - 100)
        let other = try ingest()
        #expect(other.status == 5 && other.errors.contains("large.rollouts.zst is not what it was"), "\(other.errors)")
        #expect(other.errors.contains("XXH3-128 by pieces"), "\(other.errors)")
    }

    /// It isn't mapped any more when it is changed: that would be a fault of all that this process writes afterwards.
    private func lengthAndDigest() throws -> (Int, String) {
        let file = try MappedFile(path: shard)
        return (file.bytes.count, PiecewiseDigest.of(file))
    }

    private func change(at offset: Int) throws {
        let handle = try FileHandle(forUpdating: URL(fileURLWithPath: shard))
        try handle.seek(toOffset: UInt64(offset))
        let byte = try handle.read(upToCount: 1)?.first ?? 0
        try handle.seek(toOffset: UInt64(offset))
        try handle.write(contentsOf: [byte ^ 1])
        try handle.close()
    }
}
