import Formats

/// Bytes as a shard: zstd frames and what is none, each rollout read with its logits.
final class ShardFuzz: FuzzTarget {
    static let name = "shard", subject = "a rollout shard, compressed"
    private let path: String
    private let memory = PlaneMemory(limit: 1 << 20)

    init(folder: String) { path = folder + "/fuzz.rollouts.zst" }

    func run(_ bytes: UnsafeRawBufferPointer) throws {
        try bytes.write(to: path)
        try readRollouts(path, memory)
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
        try readRollouts(path, memory)
    }
}

/// Reads a shard's rollouts and touches every logit of them; the first that can't be read ends it.
private func readRollouts(_ path: String, _ memory: PlaneMemory) throws {
    func see(_ row: LogitsRow) { _ = row.fault }
    let shard = try RolloutShard(path: path)
    for case .frame(let span) in shard.entries {
        _ = try RolloutFrameReader.read(
            try FrameStream(span, in: shard.file, place: "frame"), file: path, place: "frame", memory: memory,
            logitsRow: see, hiddenRow: see)
    }
}
