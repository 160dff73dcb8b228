/// Reads FlatBuffers from untrusted bytes: every access is checked against the buffer, and what does not fit throws.
struct FlatBufferTable {
    let bytes: UnsafeRawBufferPointer
    let position: Int
    private let allowance: Allowance

    /// Bytes that are not what the format says, and how.
    struct OutOfBounds: Error { var found = "offsets that leave the file" }

    /// How much may still be handed out. Nothing in the format keeps tables, vectors and strings from standing for
    /// several others, so that a thousand bytes can unfold to millions; writers share a few names at most.
    private final class Allowance {
        private var left: Int

        init(_ bytes: Int) { left = (1 << 16) + 16 * bytes }

        func take(_ count: Int) throws {
            left -= count
            guard left >= 0 else { throw OutOfBounds(found: "parts that stand for many others") }
        }
    }

    static func root(_ bytes: UnsafeRawBufferPointer) throws -> FlatBufferTable {
        let start = try read(UInt32.self, bytes, 0)
        return FlatBufferTable(bytes: bytes, position: Int(start), allowance: Allowance(bytes.count))
    }

    private static func read<T: FixedWidthInteger>(_ type: T.Type, _ bytes: UnsafeRawBufferPointer, _ position: Int)
        throws -> T
    {
        guard position >= 0, position <= bytes.count - MemoryLayout<T>.size else { throw OutOfBounds() }
        return T(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: T.self))
    }

    private func read<T: FixedWidthInteger>(_ type: T.Type, at position: Int) throws -> T {
        try Self.read(type, bytes, position)
    }

    /// Where field `id` lies; nil where the table leaves it out.
    private func field(_ id: Int) throws -> Int? {
        let slots = position - Int(try read(Int32.self, at: position))
        let size = Int(try read(UInt16.self, at: slots))
        guard 4 + 2 * id + 2 <= size else { return nil }
        let offset = Int(try read(UInt16.self, at: slots + 4 + 2 * id))
        return offset == 0 ? nil : position + offset
    }

    func value<T: FixedWidthInteger>(_ id: Int, default fallback: T) throws -> T {
        try field(id).map { try read(T.self, at: $0) } ?? fallback
    }

    private func target(_ position: Int) throws -> Int { position + Int(try read(UInt32.self, at: position)) }

    func table(_ id: Int) throws -> FlatBufferTable? {
        try field(id).map { try table(at: try target($0)) }
    }

    private func table(at position: Int) throws -> FlatBufferTable {
        try allowance.take(16)
        return FlatBufferTable(bytes: bytes, position: position, allowance: allowance)
    }

    /// First element and count of a vector; every element of `size` bytes lies within the buffer.
    private func vector(_ id: Int, elementSize: Int) throws -> (start: Int, count: Int) {
        guard let field = try field(id) else { return (0, 0) }
        let start = try target(field), count = Int(try read(UInt32.self, at: start))
        guard count <= (bytes.count - start - 4) / elementSize else { throw OutOfBounds() }
        return (start + 4, count)
    }

    func tables(_ id: Int) throws -> [FlatBufferTable] {
        let (start, count) = try vector(id, elementSize: 4)
        return try (0..<count).map { try table(at: try target(start + 4 * $0)) }
    }

    /// Structs of `words` 8-byte words each.
    func structs(_ id: Int, words: Int) throws -> FlatBufferStructs {
        let (start, count) = try vector(id, elementSize: 8 * words)
        try allowance.take(8 * words * count)
        return FlatBufferStructs(
            count: count, width: words, words: try (0..<count * words).map { try read(Int64.self, at: start + 8 * $0) })
    }

    func string(_ id: Int) throws -> String {
        let (start, count) = try vector(id, elementSize: 1)
        try allowance.take(16 + count)
        return String(decoding: bytes[start..<start + count], as: UTF8.self)
    }
}

/// Structs of words of 8 bytes, one behind the other.
struct FlatBufferStructs: Sendable {
    let count: Int
    fileprivate let width: Int
    fileprivate let words: [Int64]

    subscript(index: Int, word: Int) -> Int64 { words[index * width + word] }
}
