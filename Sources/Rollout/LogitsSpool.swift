import CKernels
import Formats
import Scratch

/// Logits of rollouts that are still being sampled, on disk: a thousand tokens of a large vocabulary are 300 MB. Rows come
/// in any order of rollouts.
final class LogitsSpool {
    private let dtype: DType
    private let rowBytes: Int
    private let file: UnnamedFile
    /// Per rollout, where its rows lie.
    private var rows: [[Int]]

    init(_ dtype: DType, vocabulary: Int, rollouts: Int, folder: String) throws {
        self.dtype = dtype
        rowBytes = vocabulary * dtype.size
        rows = [[Int]](repeating: [], count: rollouts)
        file = try UnnamedFile(folder: folder)
    }

    func append(_ row: UnsafePointer<Float>, to rollout: Int) throws {
        rows[rollout].append(file.count)
        let count = rowBytes / dtype.size
        guard dtype != .f32 else { return try file.append(UnsafeRawBufferPointer(start: row, count: rowBytes)) }
        var half = [UInt16](repeating: 0, count: count)
        if dtype == .bf16 { crux_f32_to_bf16(row, &half, count) } else { crux_f32_to_f16(row, &half, count) }
        try half.withUnsafeBytes { try file.append($0) }
    }

    /// All rows of a rollout.
    func read(_ rollout: Int) throws -> [UInt8] {
        try [UInt8](unsafeUninitializedCapacity: rows[rollout].count * rowBytes) { buffer, count in
            for offset in rows[rollout] {
                try file.read(into: UnsafeMutableRawBufferPointer(start: buffer.baseAddress! + count, count: rowBytes), at: offset)
                count += rowBytes
            }
        }
    }
}
