import Formats
import Scratch

/// Logits of rollouts that are still being sampled, on disk: a thousand tokens of a large vocabulary are 300 MB. Rows
/// come in any order of rollouts.
final class LogitsSpool {
    /// The largest finite float16.
    private static let largestHalf: Float = 65504
    private let vocabulary: Int
    private let file: UnnamedFile
    /// Per rollout, where its rows lie.
    private var rows: [[Int]]
    /// Per rollout: float16 gives way to bfloat16 where a logit is beyond its range.
    private(set) var types: [DType]

    init(_ dtype: DType, vocabulary: Int, rollouts: Int, folder: String) throws {
        self.vocabulary = vocabulary
        rows = [[Int]](repeating: [], count: rollouts)
        types = [DType](repeating: dtype, count: rollouts)
        file = try UnnamedFile(folder: folder)
    }

    private func rowBytes(_ dtype: DType) -> Int { vocabulary * dtype.size }

    func append(_ row: UnsafePointer<Float>, to rollout: Int) throws {
        if types[rollout] == .f16, isBeyondHalf(row) { try demote(rollout) }
        rows[rollout].append(file.count)
        try append(row, as: types[rollout])
    }

    /// Infinities are what they are in every type.
    private func isBeyondHalf(_ row: UnsafePointer<Float>) -> Bool {
        UnsafeBufferPointer(start: row, count: vocabulary).contains { abs($0) > Self.largestHalf && $0.isFinite }
    }

    private func append(_ row: UnsafePointer<Float>, as dtype: DType) throws {
        guard dtype != .f32 else {
            return try file.append(UnsafeRawBufferPointer(start: row, count: rowBytes(dtype)))
        }
        let half = HalfPrecision.narrow(row, count: vocabulary, to: dtype)
        try half.withUnsafeBytes { try file.append($0) }
    }

    /// A rollout's rows have one type: those that are there already are written again.
    private func demote(_ rollout: Int) throws {
        let bytes = try read(rollout), old = rows[rollout]
        types[rollout] = .bf16
        rows[rollout] = []
        for index in old.indices {
            let values = bytes.withUnsafeBytes { raw in
                let row = raw.baseAddress! + index * rowBytes(.f16)
                return HalfPrecision.widen(f16: row.assumingMemoryBound(to: UInt16.self), count: vocabulary)
            }
            rows[rollout].append(file.count)
            try append(values, as: .bf16)
        }
    }

    /// All rows of a rollout.
    func read(_ rollout: Int) throws -> [UInt8] {
        let size = rowBytes(types[rollout])
        return try [UInt8](unsafeUninitializedCapacity: rows[rollout].count * size) { buffer, count in
            for offset in rows[rollout] {
                try file.read(
                    into: UnsafeMutableRawBufferPointer(start: buffer.baseAddress! + count, count: size), at: offset)
                count += size
            }
        }
    }
}
