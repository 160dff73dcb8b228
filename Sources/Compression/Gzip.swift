import CZlib

/// gzip, which browsers read (`DecompressionStream`).
package enum Gzip {
    /// The same bytes for the same input, whenever it runs: the header carries no time.
    package static func compress(_ bytes: [UInt8]) -> [UInt8] {
        var stream = z_stream()
        guard crux_begin_gzip(&stream, Z_BEST_COMPRESSION) == Z_OK else { preconditionFailure("zlib found no memory") }
        defer { deflateEnd(&stream) }
        // A little more than it can ever need, so that one call does it all.
        var compressed = [UInt8](repeating: 0, count: Int(deflateBound(&stream, UInt(bytes.count))) + headerBytes)
        var input = bytes
        let length = input.withUnsafeMutableBufferPointer { input in
            compressed.withUnsafeMutableBufferPointer { output in
                (stream.next_in, stream.avail_in) = (input.baseAddress, UInt32(input.count))
                (stream.next_out, stream.avail_out) = (output.baseAddress, UInt32(output.count))
                guard deflate(&stream, Z_FINISH) == Z_STREAM_END else {
                    preconditionFailure("zlib wanted more room than deflateBound says")
                }
                return Int(stream.total_out)
            }
        }
        compressed.removeLast(compressed.count - length)
        return compressed
    }

    private static let headerBytes = 32
}
