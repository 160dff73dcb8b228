import CZstd
import Foundation

/// Writes a rollout shard: one zstd frame with checksum and content size for each rollout.
package struct RolloutShardWriter {
    private let file: AtomicFile
    private let level: Int32

    package init(path: String, level: Int32 = 1) throws {
        file = try AtomicFile(path)
        self.level = level
    }

    /// `logits` holds rows·vocabulary elements of `frame.logits`' type, row by row.
    package func append(_ frame: RolloutFrame, logits: [UInt8] = []) throws {
        try append(blob: try Self.blob(frame, logits: logits))
    }

    /// Any bytes as one frame.
    package func append(blob: [UInt8]) throws { try file.write(try Self.compress(blob, level: level, file: file.path)) }

    package func finish() throws { try file.commit() }

    /// The safetensors blob of a rollout, uncompressed.
    package static func blob(_ frame: RolloutFrame, logits: [UInt8] = []) throws -> [UInt8] {
        let parts = tensors(frame, logits)
        let header = SafetensorsHeader(laying: parts.map(\.info), metadata: frame.metadata)
        return try header.encoded() + parts.flatMap(\.bytes)
    }

    private static func tensors(_ frame: RolloutFrame, _ logits: [UInt8]) -> [(info: TensorInfo, bytes: [UInt8])] {
        let length = frame.tokenIDs.count, rows = frame.topk == 0 ? 0 : (frame.topkTokenIDs?.count ?? 0) / frame.topk
        func part<T>(_ name: String, _ dtype: DType, _ shape: [Int], _ values: [T]?) -> (info: TensorInfo, bytes: [UInt8])? {
            values.map { (TensorInfo(name: name, dtype: dtype, shape: shape), $0.withUnsafeBytes { Array($0) }) }
        }
        return [
            part("token_ids", .i32, [length], frame.tokenIDs),
            part("rollout_logprobs", .f32, [length], frame.rolloutLogprobs),
            part("values", .f32, [length], frame.values),
            part("reference_logprobs", .f32, [length], frame.referenceLogprobs),
            part("topk_token_ids", .i32, [rows, frame.topk], frame.topkTokenIDs),
            part("topk_logprobs", .f32, [rows, frame.topk], frame.topkLogprobs),
            frame.logits.flatMap { part("logits", $0.dtype, [$0.rows, $0.vocabulary], logits) },
            part("loss_mask", .u8, [frame.lossMask.count], frame.lossMask.map { UInt8($0 ? 1 : 0) }),
        ].compactMap { $0 }
    }

    private static func compress(_ blob: [UInt8], level: Int32, file: String) throws -> [UInt8] {
        let context = ZSTD_createCCtx()
        defer { ZSTD_freeCCtx(context) }
        ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level)
        ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)
        return try [UInt8](unsafeUninitializedCapacity: ZSTD_compressBound(blob.count)) { buffer, count in
            let size = ZSTD_compress2(context, buffer.baseAddress, buffer.count, blob, blob.count)
            guard ZSTD_isError(size) == 0 else { throw IOError(file: file, action: "compress", reason: String(cString: ZSTD_getErrorName(size))) }
            count = size
        }
    }
}
