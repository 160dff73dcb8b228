import Files
import Formats
import Foundation
import StageSupport

/// crux-score on two shards of 2 GB of logits each (uncompressed, bf16), beside two zstd processes that decode one
/// shard each to nowhere, turn by turn, everything in the page cache.
struct ScoreBench {
    let threads: Int
    private let folder = FileManager.default.temporaryDirectory.path + "/crux-bench-score-\(getpid())"

    private static let vocabulary = 151_936
    private static let rolloutsPerShard = 26
    private static let length = 256
    private static let rounds = 3
    private static let shards = ["a", "b"]

    private struct Way {
        let name: String
        let run: () throws -> (seconds: Double, peakBytes: Int)
    }

    init(threads: Int) { self.threads = threads }

    func run() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try makeDumps()
        let stored = try size(of: folder + "/two/a.rollouts.zst"),
            raw = Self.rolloutsPerShard * Self.length * Self.vocabulary * 2
        say(
            "score, 2 shards of \(Self.rolloutsPerShard) rollouts of \(Self.length) tokens, \(String(format: "%.2f", Double(raw) / 1e9)) GB of bf16 logits each, "
                + "compressed to \(String(format: "%.2f", Double(stored) / 1e9)) GB (\(String(format: "%.2f", Double(raw) / Double(stored))) to 1):"
        )
        for (name, dump, flags) in [("two", "two", []), ("one", "one", []), ("split", "two", ["--logits", "copy"])] {
            let ingest = try ChildProcess(
                "crux-ingest", ["--input", folder + "/" + dump, "--output", folder + "/ingest-" + name] + flags)
            let counts = try Manifest.finished(folder + "/ingest-" + name, stage: "ingest").counts
            guard counts["rollouts"] == 2 * Self.rolloutsPerShard else {
                throw ChildProcess.Failure(description: "crux-ingest took \(counts) of \(2 * Self.rolloutsPerShard)")
            }
            let what =
                (["crux-ingest"] + flags).joined(separator: " ")
                + (dump == "one" ? ", both shards in one" : ", two shards")
            say("  \(what): \(describe(ingest.seconds, raw, ingest.peakBytes))")
        }
        let copies = try Self.shards.indices.map {
            try size(of: folder + String(format: "/ingest-split/logits-%05d.rollouts.zst", $0))
        }.reduce(0, +)
        say("  bytes apart: \(String(format: "%.2f", Double(2 * raw) / Double(copies))) to 1")
        report(try measure(), raw)
    }

    private func measure() throws -> [(name: String, seconds: Double, peakBytes: Int)] {
        let ways = [
            Way(name: "zstd -d, two processes") { (try decodeByCommand(), 0) },
            way("two shards", "two", threads: threads),
            way("two shards, one thread", "two", threads: 1), way("both shards in one", "one", threads: threads),
            way("two shards, bytes apart", "split", threads: threads),
            wholeWay("crux-ingest and crux-score, two shards", "two", []),
            wholeWay("crux-ingest --score and crux-score, two shards", "two", ["--score"]),
            wholeWay("crux-ingest --score and crux-score, both shards in one", "one", ["--score"]),
        ]
        var found = ways.map { (name: $0.name, seconds: Double.infinity, peakBytes: 0) }
        for _ in 0..<Self.rounds {
            for (index, way) in ways.enumerated() {
                let (seconds, peak) = try way.run()
                found[index].seconds = min(found[index].seconds, seconds)
                found[index].peakBytes = max(found[index].peakBytes, peak)
            }
        }
        return found
    }

    /// From the dump to scores, digests and validation included.
    private func wholeWay(_ name: String, _ dump: String, _ flags: [String]) -> Way {
        Way(name: name) {
            let ingest = try ChildProcess(
                "crux-ingest",
                ["--input", folder + "/" + dump, "--output", folder + "/ingest-whole", "--overwrite"] + flags)
            let score = try ChildProcess(
                "crux-score",
                [
                    "--input", folder + "/ingest-whole", "--output", folder + "/score-whole", "--overwrite", "--reward",
                    "given",
                ])
            return (ingest.seconds + score.seconds, max(ingest.peakBytes, score.peakBytes))
        }
    }

    private func way(_ name: String, _ dump: String, threads: Int) -> Way {
        Way(name: "crux-score, " + name) {
            let score = try ChildProcess(
                "crux-score",
                [
                    "--input", folder + "/ingest-" + dump, "--output", folder + "/score", "--overwrite", "--reward",
                    "given", "--threads", "\(threads)",
                ])
            return (score.seconds, score.peakBytes)
        }
    }

    private func report(_ found: [(name: String, seconds: Double, peakBytes: Int)], _ raw: Int) {
        let zstd = found[0].seconds, two = found[1].seconds
        say("  \(found[0].name): \(String(format: "%.2f", zstd)) s")
        for way in found.dropFirst() {
            say(
                "  \(way.name): \(describe(way.seconds, raw, way.peakBytes)), \(String(format: "%.2f", way.seconds / zstd)) times zstd's time"
            )
        }
        say(
            "  two threads are \(String(format: "%.2f", found[2].seconds / two)) times as fast as one, one shard takes "
                + "\(String(format: "%.2f", found[3].seconds / two)) times as long as two")
    }

    private func describe(_ seconds: Double, _ raw: Int, _ peak: Int) -> String {
        let tokens = Double(2 * Self.rolloutsPerShard * Self.length)
        return
            "\(String(format: "%.2f", seconds)) s, \(text(tokens / seconds)) tokens/s, \(text(2 * Double(raw) / seconds / 1e9)) GB/s of logits, "
            + "peak memory \(peak >> 20) MiB"
    }

    private func decodeByCommand() throws -> Double {
        try seconds {
            let commands = try Self.shards.map { shard in
                let process = Process()
                process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
                process.arguments = ["zstd", "-d", "-q", "-c", folder + "/two/\(shard).rollouts.zst"]
                process.standardOutput = FileHandle.nullDevice
                try process.run()
                return process
            }
            for command in commands {
                command.waitUntilExit()
                guard command.terminationStatus == 0 else {
                    throw ChildProcess.Failure(description: "zstd -d failed: is the package zstd installed?")
                }
            }
        }
    }

    private func size(of path: String) throws -> Int { try MappedFile(path: path).bytes.count }

    /// Two shards, and one of all their frames.
    private func makeDumps() throws {
        for name in ["two", "one"] {
            try FileManager.default.createDirectory(atPath: folder + "/" + name, withIntermediateDirectories: true)
        }
        let errors = Errors()
        DispatchQueue.concurrentPerform(iterations: Self.shards.count) { index in
            errors.collect { try makeShard(Self.shards[index], seed: index + 1) }
        }
        try errors.throwFirst()
        let both = try AtomicFile(folder + "/one/both.rollouts.zst")
        for shard in Self.shards {
            let file = try MappedFile(path: folder + "/two/\(shard).rollouts.zst")
            try withExtendedLifetime(file) { try both.write(file.bytes) }
        }
        try both.commit()
    }

    private func makeShard(_ shard: String, seed: Int) throws {
        let logits = SyntheticLogits(vocabulary: Self.vocabulary, seed: UInt64(seed)),
            writer = try RolloutShardWriter(path: folder + "/two/\(shard).rollouts.zst")
        for index in 0..<Self.rolloutsPerShard {
            var frame = RolloutFrame()
            frame.metadata = [
                "rollout_id": "\(shard)\(index)", "group_id": "g\(index / 8)", "reward": index % 3 == 0 ? "1" : "0",
            ]
            // A group has one prompt; rollouts with another would be rejected, and the rest be quick.
            frame.tokenIDs = (0..<Self.length + 8).map { Int32(($0 * 7919 + ($0 < 8 ? index / 8 : index)) % 1000) }
            frame.lossMask = (0..<Self.length + 8).map { $0 >= 8 }
            frame.rolloutLogprobs = frame.lossMask.map { $0 ? -0.5 : 0 }
            frame.logits = LogitsInfo(dtype: .bf16, rows: Self.length, vocabulary: Self.vocabulary)
            try writer.append(frame, logits: logits.rows(Self.length).withUnsafeBytes { Array($0) })
        }
        try writer.finish()
    }
}

/// The first error of several threads.
private final class Errors: @unchecked Sendable {
    private let lock = NSLock()
    private var first: (any Error)?

    func collect(_ body: () throws -> Void) {
        do { try body() } catch { lock.withLock { first = first ?? error } }
    }

    func throwFirst() throws { if let first { throw first } }
}
