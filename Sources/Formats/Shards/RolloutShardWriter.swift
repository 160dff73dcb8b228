import CKernels
import CZstd
import Files
import Foundation
import Scratch

/// The two bytes of 16-bit elements, apart. The high ones repeat and shrink to less than half; the low ones are as good
/// as random, and zstd passes over them at the speed of a copy.
enum SplitBytes {
    static func planes(of elements: UnsafeRawBufferPointer) -> (high: [UInt8], low: [UInt8]) {
        var high = [UInt8](repeating: 0, count: elements.count / 2), low = high
        if let first = elements.baseAddress { crux_split_bytes(first, &high, &low, high.count) }
        return (high, low)
    }
}

/// Writes a rollout shard: one zstd frame with checksum and content size for each rollout.
package struct RolloutShardWriter {
    private let file: AtomicFile
    private let level: Int32

    package init(path: String, level: Int32 = 1) throws {
        file = try AtomicFile(path, digests: true)
        self.level = level
    }

    /// `logits` holds rows·vocabulary elements of `frame.logits`' type, row by row; they are stored as that says, whole
    /// or split.
    package func append(_ frame: RolloutFrame, logits: [UInt8] = [], hiddenStates: [UInt8] = []) throws {
        try append(blob: try Self.blob(frame, logits: logits, hiddenStates: hiddenStates))
    }

    /// Any bytes as one frame.
    package func append(blob: [UInt8]) throws { try file.write(try Self.compress(blob, level: level, file: file.path)) }

    @discardableResult
    package func finish(rows: Int? = nil) throws -> WrittenFile { try file.finish(rows: rows) }

    /// The safetensors blob of a rollout, uncompressed.
    package static func blob(_ frame: RolloutFrame, logits: [UInt8] = [], hiddenStates: [UInt8] = []) throws -> [UInt8]
    {
        let parts = parts(frame, logits, hiddenStates)
        var metadata = frame.metadata
        if let start = frame.experts?.start, start > 0 { metadata[RoutedExperts.startKey] = "\(start)" }
        metadata[LogitsInfo.typeKey] = frame.logits?.typeName ?? metadata[LogitsInfo.typeKey]
        let header = SafetensorsHeader(laying: parts.map(\.info), metadata: metadata)
        return header.encoded() + parts.flatMap(\.bytes)
    }

    /// A rollout without logits as one compressed frame.
    package static func frame(_ rollout: RolloutFrame) throws -> [UInt8] {
        try compress(try blob(rollout), level: 1, file: "a frame")
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
            values.map {
                Part(name, dtype, [$0.count / max(1, frame.topk), frame.topk], $0.withUnsafeBytes { Array($0) })
            }
        }
        let beforeLogits = [
            vector("token_ids", .i32, frame.tokenIDs),
            vector("rollout_logprobs", .f32, frame.rolloutLogprobs),
            vector("old_logprobs", .f32, frame.oldLogprobs),
            vector("advantages", .f32, frame.advantages),
            vector("values", .f32, frame.values),
            vector("reference_logprobs", .f32, frame.referenceLogprobs),
            vector("teacher_logprobs", .f32, frame.teacherLogprobs),
            vector("teacher_prompt_ids", .i32, frame.teacherPromptIDs),
            matrix("topk_token_ids", .i32, frame.topkTokenIDs),
            matrix("topk_logprobs", .f32, frame.topkLogprobs),
            vector("token_roles", .u8, frame.tokenRoles),
            vector("support_token_ids", .i32, frame.supportTokenIDs),
            vector("support_offsets", .i64, frame.supportOffsets),
            frame.experts.map(experts),
        ]
        let hidden =
            frame.hiddenStates.map { [Part("hidden_states", $0.dtype, [$0.rows, $0.vocabulary], hiddenStates)] } ?? []
        let mask = vector("loss_mask", .u8, frame.lossMask.map { UInt8($0 ? 1 : 0) })
        return beforeLogits.compactMap { $0 } + (frame.logits.map { Self.parts($0, logits) } ?? []) + hidden
            + [mask].compactMap { $0 }
    }

    /// In one byte for each where that is enough.
    private static func experts(_ experts: RoutedExperts) -> Part {
        let shape = [experts.rows, experts.layers, experts.perToken]
        let isNarrow = experts.values.allSatisfy { $0 < 256 }
        return Part(
            RoutedExperts.key, isNarrow ? .u8 : .u16, shape,
            isNarrow ? experts.values.map { UInt8($0) } : experts.values.withUnsafeBytes { Array($0) })
    }

    private static func parts(_ info: LogitsInfo, _ logits: [UInt8]) -> [Part] {
        let shape = [info.rows, info.vocabulary]
        guard info.isSplit else { return [Part("logits", info.dtype, shape, logits)] }
        let planes = logits.withUnsafeBytes { SplitBytes.planes(of: $0) }
        return [Part("logits_high", .u8, shape, planes.high), Part("logits_low", .u8, shape, planes.low)]
    }

    private static func compress(_ blob: [UInt8], level: Int32, file: String) throws -> [UInt8] {
        let context = ZSTD_createCCtx()
        defer { ZSTD_freeCCtx(context) }
        ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level)
        ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)
        return try [UInt8](unsafeUninitializedCapacity: ZSTD_compressBound(blob.count)) { buffer, count in
            let size = ZSTD_compress2(context, buffer.baseAddress, buffer.count, blob, blob.count)
            guard ZSTD_isError(size) == 0 else {
                throw IOError(file: file, action: "compress", reason: String(cString: ZSTD_getErrorName(size)))
            }
            count = size
        }
    }
}
