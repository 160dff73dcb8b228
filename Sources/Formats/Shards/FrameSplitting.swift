import CKernels
import CZstd
import Files
import Scratch

/// Writes a rollout's frame again with the two bytes of its 16-bit logits apart, everything else as it was. Memory: a
/// row of logits and what zstd needs, so the frame is decoded twice, for one plane after the other.
package struct FrameSplitting {
    private let span: FrameSpan
    private let shard: MappedFile
    private let place: String

    package init(_ span: FrameSpan, in shard: MappedFile, place: String) {
        (self.span, self.shard, self.place) = (span, shard, place)
    }

    package func write(level: Int32 = 1, _ sink: @escaping (UnsafeRawBufferPointer) throws -> Void) throws {
        let stream = try FrameStream(span, in: shard, place: place)
        let header = try RolloutFrameReader.header(stream, file: shard.path, place: place)
        let split = Self.split(header), encoded = split.encoded()
        let frame = try FrameCompressor(level: level, bytes: encoded.count + split.dataBytes, file: shard.path, sink)
        try encoded.withUnsafeBytes { try frame.write($0) }
        for tensor in header.tensors {
            if tensor.name == "logits" {
                try writePlanes(tensor, from: stream, to: frame)
            } else {
                try copy(tensor, from: stream, to: frame)
            }
        }
        try stream.expectEnd()
        try frame.finish()
    }

    /// Whether there is anything to split.
    package static func applies(to logits: LogitsInfo?) -> Bool {
        guard let logits, !logits.isSplit else { return false }
        return LogitsInfo.splitTypes.values.contains(logits.dtype)
    }

    private static func split(_ header: SafetensorsHeader) -> SafetensorsHeader {
        var metadata = header.metadata
        let tensors = header.tensors.flatMap { tensor -> [TensorInfo] in
            guard tensor.name == "logits" else { return [tensor] }
            metadata[LogitsInfo.typeKey] =
                LogitsInfo(dtype: tensor.dtype, rows: tensor.shape[0], vocabulary: tensor.shape[1], isSplit: true)
                .typeName
            return ["logits_high", "logits_low"].map { TensorInfo(name: $0, dtype: .u8, shape: tensor.shape) }
        }
        return SafetensorsHeader(laying: tensors, metadata: metadata)
    }

    private func writePlanes(_ tensor: TensorInfo, from stream: FrameStream, to frame: FrameCompressor) throws {
        let rows = tensor.shape[0], vocabulary = tensor.shape[1], again = try stream.again()
        try again.skip(stream.produced)
        var row = [UInt8](repeating: 0, count: 2 * vocabulary), high = [UInt8](repeating: 0, count: vocabulary),
            low = high
        for (source, takesHigh) in [(stream, true), (again, false)] {
            for _ in 0..<rows {
                try row.withUnsafeMutableBytes { try source.read(into: $0) }
                crux_split_bytes(row, &high, &low, vocabulary)
                try (takesHigh ? high : low).withUnsafeBytes { try frame.write($0) }
            }
        }
    }

    private func copy(_ tensor: TensorInfo, from stream: FrameStream, to frame: FrameCompressor) throws {
        var left = tensor.end - tensor.begin, piece = [UInt8](repeating: 0, count: min(left, 1 << 16))
        while left > 0 {
            let size = min(left, piece.count)
            try piece.withUnsafeMutableBytes { buffer in
                let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<size])
                try stream.read(into: part)
                try frame.write(UnsafeRawBufferPointer(part))
            }
            left -= size
        }
    }
}

/// One zstd frame with checksum and content size, compressed as its bytes come.
private final class FrameCompressor {
    private let context: OpaquePointer
    private let file: String
    private let sink: (UnsafeRawBufferPointer) throws -> Void
    private var room = [UInt8](repeating: 0, count: 1 << 18)

    /// `bytes`: how many will come.
    init(level: Int32, bytes: Int, file: String, _ sink: @escaping (UnsafeRawBufferPointer) throws -> Void) throws {
        guard let context = ZSTD_createCCtx() else {
            throw IOError(file: file, action: "compress", reason: "out of memory")
        }
        (self.context, self.file, self.sink) = (context, file, sink)
        ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level)
        ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)
        ZSTD_CCtx_setPledgedSrcSize(context, UInt64(bytes))
    }

    deinit { ZSTD_freeCCtx(context) }

    func write(_ bytes: UnsafeRawBufferPointer) throws {
        var input = ZSTD_inBuffer(src: bytes.baseAddress, size: bytes.count, pos: 0)
        while input.pos < input.size { _ = try step(&input, ZSTD_e_continue) }
    }

    func finish() throws {
        var nothing = ZSTD_inBuffer(src: nil, size: 0, pos: 0)
        while try step(&nothing, ZSTD_e_end) > 0 {}
    }

    /// What is left to be flushed.
    private func step(_ input: inout ZSTD_inBuffer, _ operation: ZSTD_EndDirective) throws -> Int {
        try room.withUnsafeMutableBytes { room in
            var output = ZSTD_outBuffer(dst: room.baseAddress, size: room.count, pos: 0)
            let left = ZSTD_compressStream2(context, &output, &input, operation)
            guard ZSTD_isError(left) == 0 else {
                throw IOError(file: file, action: "compress", reason: String(cString: ZSTD_getErrorName(left)))
            }
            if output.pos > 0 { try sink(UnsafeRawBufferPointer(rebasing: room[..<output.pos])) }
            return left
        }
    }
}
