import Formats
import Foundation

/// Two groups of four rollouts with rewards and logits.
enum TinyDump {
    /// That of the policy.
    static let vocabulary = 40

    static func write(to path: String) throws {
        try FileManager.default.createDirectory(
            atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        let writer = try RolloutShardWriter(path: path)
        for blob in try blobs() { try writer.append(blob: blob) }
        try writer.finish()
    }

    static func blobs() throws -> [[UInt8]] {
        try (0..<8).map { index in
            let logits = (0..<completion * vocabulary).map { Float(($0 * 7 + index) % 11) - 5 }
            return try RolloutShardWriter.blob(frame(index), logits: logits.withUnsafeBytes { Array($0) })
        }
    }

    private static let prompt = 3, completion = 5

    private static func frame(_ index: Int) -> RolloutFrame {
        var frame = RolloutFrame()
        frame.metadata = [
            "rollout_id": "r-\(index)", "group_id": "g-\(index / 4)", "sample_index": "\(index % 4)",
            "finish_reason": index % 3 == 0 ? "length" : "stop", "temperature": "1.0",
            "reward": index % 3 == 0 ? "1" : "0", "completion": "The answer is \(index).", "reference_answer": "3",
        ]
        frame.tokenIDs = (0..<prompt + completion).map { place in
            Int32(place < prompt ? 1 + (index / 4) * 7 + place : 1 + (place * 5 + index * 3) % (vocabulary - 1))
        }
        frame.lossMask = frame.tokenIDs.indices.map { $0 >= prompt }
        frame.rolloutLogprobs = frame.lossMask.map { $0 ? -1.5 : 0 }
        frame.referenceLogprobs = frame.lossMask.map { $0 ? -1.4 : 0 }
        frame.teacherLogprobs = frame.lossMask.map { $0 ? -1.2 : 0 }
        frame.tokenRoles = frame.lossMask.map { $0 ? 1 : 0 }
        if index % 2 == 1 {
            // Some of the vocabulary for every other token, all of it for the others.
            let supports = frame.lossMask.indices.filter { frame.lossMask[$0] }.map { place -> [Int32] in
                place % 2 == 0 ? [] : Set([0, 5, 9, frame.tokenIDs[place]]).sorted()
            }
            let support = SamplingSupport(supports)
            (frame.supportTokenIDs, frame.supportOffsets) = (
                support.tokenIDs, support.offsets.map { Int64($0) }
            )
            frame.metadata["logprobs_kind"] = "support"
        }
        frame.logits = LogitsInfo(dtype: .f32, rows: completion, vocabulary: vocabulary)
        return frame
    }
}
