import Formats

/// Bytes as a shard: zstd frames and what is none, each rollout read with its logits.
final class ShardFuzz: FuzzTarget {
    static let name = "shard", subject = "a rollout shard, compressed"
    private let path: String
    private let memory = PlaneMemory(limit: 1 << 20)

    init(folder: String) { path = folder + "/fuzz.rollouts.zst" }

    func run(_ bytes: UnsafeRawBufferPointer) throws {
        try bytes.write(to: path)
        let shard = try RolloutShard(path: path)
        for case .frame(let span) in shard.entries {
            let stream = try FrameStream(span, in: shard.file, place: "frame")
            try readRollout(stream, memory)
        }
    }
}

/// Bytes as a rollout's blob before its compression, so that no checksum keeps the fuzzer out.
final class FrameFuzz: FuzzTarget {
    static let name = "frame", subject = "a rollout of a shard, uncompressed"
    private let path: String
    private let memory = PlaneMemory(limit: 1 << 20)

    init(folder: String) { path = folder + "/fuzz.rollouts.zst" }

    func run(_ bytes: UnsafeRawBufferPointer) throws {
        let writer = try RolloutShardWriter(path: path)
        try writer.append(blob: Array(bytes))
        try writer.finish()
        let shard = try RolloutShard(path: path)
        for case .frame(let span) in shard.entries {
            try readRollout(try FrameStream(span, in: shard.file, place: "frame"), memory)
        }
    }
}

/// Reads a rollout and touches every logit of it.
private func readRollout(_ stream: FrameStream, _ memory: PlaneMemory) throws {
    func see(_ row: LogitsRow) { _ = row.fault }
    _ = try RolloutFrameReader.read(
        stream, file: "fuzz", place: "frame", memory: memory, logitsRow: see, hiddenRow: see)
}
