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
    package func append(_ frame: RolloutFrame, logits: [UInt8] = [], hiddenStates: [UInt8] = []) throws {
        try append(blob: try Self.blob(frame, logits: logits, hiddenStates: hiddenStates))
    }

    /// Any bytes as one frame.
    package func append(blob: [UInt8]) throws { try file.write(try Self.compress(blob, level: level, file: file.path)) }

    package func finish() throws { try file.commit() }

    /// The safetensors blob of a rollout, uncompressed.
    package static func blob(_ frame: RolloutFrame, logits: [UInt8] = [], hiddenStates: [UInt8] = []) throws -> [UInt8] {
        let parts = parts(frame, logits, hiddenStates)
        let header = SafetensorsHeader(laying: parts.map(\.info), metadata: frame.metadata)
        return header.encoded() + parts.flatMap(\.bytes)
    }

    private struct Part {
        let info: TensorInfo
        let bytes: [UInt8]

        init(_ name: String, _ dtype: DType, _ shape: [Int], _ bytes: [UInt8]) {
            info = TensorInfo(name: name, dtype: dtype, shape: shape)
            self.bytes = bytes
        }
    }

    /// Shapes are those of the arrays as they are, so that tests can write what no honest producer would.
    private static func parts(_ frame: RolloutFrame, _ logits: [UInt8], _ hiddenStates: [UInt8]) -> [Part] {
        func vector<T>(_ name: String, _ dtype: DType, _ values: [T]?) -> Part? {
            values.map { Part(name, dtype, [$0.count], $0.withUnsafeBytes { Array($0) }) }
        }
        func matrix<T>(_ name: String, _ dtype: DType, _ values: [T]?) -> Part? {
            values.map { Part(name, dtype, [$0.count / max(1, frame.topk), frame.topk], $0.withUnsafeBytes { Array($0) }) }
        }
        return [
            vector("token_ids", .i32, frame.tokenIDs),
            vector("rollout_logprobs", .f32, frame.rolloutLogprobs),
            vector("values", .f32, frame.values),
            vector("reference_logprobs", .f32, frame.referenceLogprobs),
            matrix("topk_token_ids", .i32, frame.topkTokenIDs),
            matrix("topk_logprobs", .f32, frame.topkLogprobs),
            frame.logits.map { Part("logits", $0.dtype, [$0.rows, $0.vocabulary], logits) },
            frame.hiddenStates.map { Part("hidden_states", $0.dtype, [$0.rows, $0.vocabulary], hiddenStates) },
            vector("loss_mask", .u8, frame.lossMask.map { UInt8($0 ? 1 : 0) }),
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
