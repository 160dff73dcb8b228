import CKernels
import Formats
import Foundation

/// Logits of rollouts that are still being sampled, on disk: a thousand tokens of a large vocabulary are 300 MB. Rows come
/// in any order of rollouts. The file has no name, so nothing is left behind, whatever happens.
final class LogitsSpool {
    private let dtype: DType
    private let rowBytes: Int
    private let folder: String
    private let descriptor: Int32
    private var end = 0
    /// Per rollout, where its rows lie.
    private var rows: [[Int]]

    init(_ dtype: DType, vocabulary: Int, rollouts: Int, folder: String) throws {
        self.dtype = dtype
        self.folder = folder
        rowBytes = vocabulary * dtype.size
        rows = [[Int]](repeating: [], count: rollouts)
        let path = folder + "/logits" + AtomicFile.temporarySuffix
        descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw IOError(file: path, action: "create the file", reason: String(cString: strerror(errno))) }
        unlink(path)
    }

    deinit { close(descriptor) }

    func append(_ row: UnsafePointer<Float>, to rollout: Int) throws {
        rows[rollout].append(end)
        let count = rowBytes / dtype.size
        guard dtype != .f32 else { return try write(UnsafeRawBufferPointer(start: row, count: rowBytes)) }
        var half = [UInt16](repeating: 0, count: count)
        if dtype == .bf16 { crux_f32_to_bf16(row, &half, count) } else { crux_f32_to_f16(row, &half, count) }
        try half.withUnsafeBytes { try write($0) }
    }

    private func write(_ data: UnsafeRawBufferPointer) throws {
        var done = 0
        while done < data.count {
            let count = pwrite(descriptor, data.baseAddress! + done, data.count - done, off_t(end + done))
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw IOError(file: folder, action: "keep logits there", reason: String(cString: strerror(errno))) }
            done += count
        }
        end += data.count
    }

    /// All rows of a rollout.
    func read(_ rollout: Int) throws -> [UInt8] {
        try [UInt8](unsafeUninitializedCapacity: rows[rollout].count * rowBytes) { buffer, count in
            for offset in rows[rollout] {
                try read(into: buffer.baseAddress! + count, at: offset)
                count += rowBytes
            }
        }
    }

    private func read(into target: UnsafeMutablePointer<UInt8>, at offset: Int) throws {
        var done = 0
        while done < rowBytes {
            let got = pread(descriptor, target + done, rowBytes - done, off_t(offset + done))
            if got < 0, errno == EINTR { continue }
            guard got > 0 else { throw IOError(file: folder, action: "read kept logits", reason: String(cString: strerror(errno))) }
            done += got
        }
    }
}
