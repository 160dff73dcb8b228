import CZstd
import Files
import Foundation
import Scratch

/// A zstd frame decoded as a stream: asks for exactly as many bytes as it wants and never holds more than zstd's
/// window.
package final class FrameStream {
    private let context: OpaquePointer
    private var input: ZSTD_inBuffer
    private let file: String
    private let place: String
    package private(set) var produced = 0
    /// Decompressed bytes by the frame's own header, where its producer put them there.
    package let declaredBytes: Int?
    /// No frame of this many compressed bytes can hold more: the smallest block has 4 bytes and fills at most 128 KiB.
    package let mostBytes: Int
    private var ended = false
    /// The mapping that the compressed bytes lie in, the frame's place in it, and how much of the frame was given back.
    private let mapping: MappedFile?
    private let offset: Int
    private var released = 0

    /// A frame of a mapped file: its pages are given back as they are consumed, so that memory does not grow with it.
    package convenience init(_ span: FrameSpan, in file: MappedFile, place: String) throws {
        let bytes = UnsafeRawBufferPointer(rebasing: file.bytes[span.offset..<span.offset + span.length])
        try self.init(bytes, file: file.path, place: place, mapping: file, offset: span.offset)
    }

    package convenience init(_ compressed: UnsafeRawBufferPointer, file: String, place: String) throws {
        try self.init(compressed, file: file, place: place, mapping: nil, offset: 0)
    }

    private init(_ compressed: UnsafeRawBufferPointer, file: String, place: String, mapping: MappedFile?, offset: Int)
        throws
    {
        self.mapping = mapping
        self.offset = offset
        self.file = file
        self.place = place
        guard let context = ZSTD_createDCtx() else {
            throw IOError(file: file, action: "decode", reason: "out of memory")
        }
        self.context = context
        input = ZSTD_inBuffer(src: compressed.baseAddress, size: compressed.count, pos: 0)
        let declared = ZSTD_getFrameContentSize(compressed.baseAddress, compressed.count)
        // The two largest values mean "unknown" and "no frame".
        declaredBytes = declared < UInt64(Int.max) ? Int(declared) : nil
        mostBytes = compressed.count << 15
    }

    deinit {
        release()
        ZSTD_freeDCtx(context)
    }

    /// The same frame from its beginning.
    func again() throws -> FrameStream {
        try FrameStream(
            UnsafeRawBufferPointer(start: input.src, count: input.size), file: file, place: place, mapping: mapping,
            offset: offset)
    }

    private func release() {
        mapping?.release(offset + released..<offset + input.pos)
        released = input.pos
    }

    private static let releaseBytes = 4 << 20

    /// Fills `target` wholly, or throws.
    package func read(into target: UnsafeMutableRawBufferPointer) throws {
        var output = ZSTD_outBuffer(dst: target.baseAddress, size: target.count, pos: 0)
        while output.pos < output.size {
            guard !ended else {
                throw FrameError(
                    .blobShorterThanDeclared, file, place, found: "a blob of \(produced + output.pos) bytes",
                    expected: "the \(produced + output.size) or more that it declares")
            }
            try step(&output)
        }
        produced += target.count
    }

    /// Reads and drops `count` bytes.
    package func skip(_ count: Int) throws {
        try withUnsafeTemporaryAllocation(byteCount: 1 << 16, alignment: 16) { buffer in
            var left = count
            while left > 0 {
                let size = min(left, buffer.count)
                try read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<size]))
                left -= size
            }
        }
    }

    /// The frame must end here; its checksum is verified on the way. One byte too many is an error, so a decompression
    /// bomb costs no more than what its own header declared.
    package func expectEnd() throws {
        try withUnsafeTemporaryAllocation(byteCount: 1, alignment: 1) { byte in
            while !ended {
                var output = ZSTD_outBuffer(dst: byte.baseAddress, size: 1, pos: 0)
                try step(&output)
                guard output.pos == 0 else {
                    throw FrameError(
                        .blobLongerThanDeclared, file, place, found: "more than \(produced) decompressed bytes",
                        expected: "the length its header declares")
                }
            }
        }
    }

    private func step(_ output: inout ZSTD_outBuffer) throws {
        let before = (input.pos, output.pos)
        let code = ZSTD_decompressStream(context, &output, &input)
        if ZSTD_isError(code) != 0 { throw damaged(code) }
        ended = code == 0
        if !ended, input.pos == input.size, (input.pos, output.pos) == before {
            throw FrameError(
                .truncatedFrame, file, place, found: "a frame cut off in the middle", expected: "a whole zstd frame")
        }
        if input.pos - released >= Self.releaseBytes { release() }
    }

    private func damaged(_ code: Int) -> FrameError {
        let message = String(cString: ZSTD_getErrorName(code))
        let reason: RejectReason =
            ZSTD_getErrorCode(code) == ZSTD_error_checksum_wrong ? .checksumMismatch : .damagedFrame
        return FrameError(reason, file, place, found: "a damaged frame (\(message))", expected: "a whole zstd frame")
    }
}
