import Formats

/// A valid rollout of a few tokens, to be made wrong in one place by a test.
package struct TinyRollout {
    package var frame = RolloutFrame()
    /// Float32, row by row.
    package var logits: [Float] = []
    package static let vocabulary = 8

    /// `prompt` tokens outside the mask, then `completion` tokens inside.
    package init(id: String = "r-0", group: String = "g-0", prompt: Int = 2, completion: Int = 3) {
        let length = prompt + completion
        frame.metadata = [
            "rollout_id": id, "group_id": group, "sample_index": "0", "finish_reason": "stop", "temperature": "1.0",
        ]
        frame.tokenIDs = (0..<length).map { Int32($0 % Self.vocabulary) }
        frame.lossMask = (0..<length).map { $0 >= prompt }
        frame.rolloutLogprobs = frame.lossMask.map { $0 ? -0.5 : 0 }
        frame.logits = LogitsInfo(dtype: .f32, rows: completion, vocabulary: Self.vocabulary)
        logits = (0..<completion * Self.vocabulary).map { Float($0 % 5) - 2 }
    }

    package mutating func removeLogits() {
        frame.logits = nil
        logits = []
    }

    /// The safetensors blob, uncompressed.
    package func blob() throws -> [UInt8] {
        try RolloutShardWriter.blob(frame, logits: logits.withUnsafeBytes { Array($0) })
    }

    package func changed(_ change: (inout TinyRollout) -> Void) -> TinyRollout {
        var copy = self
        change(&copy)
        return copy
    }
}

/// Writes rollouts as a shard.
package func writeShard(_ rollouts: [TinyRollout], to path: String) throws {
    try writeShard(blobs: rollouts.map { try $0.blob() }, to: path)
}

/// Writes any blobs as the frames of a shard.
package func writeShard(blobs: [[UInt8]], to path: String) throws {
    let writer = try RolloutShardWriter(path: path)
    for blob in blobs { try writer.append(blob: blob) }
    try writer.finish()
}

/// Offsets at which the frames of a shard begin.
package func frameOffsets(of path: String) throws -> [Int] { try RolloutShard(path: path).entries.map(\.span.offset) }
