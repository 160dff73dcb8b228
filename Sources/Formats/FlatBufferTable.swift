/// Reads FlatBuffers from untrusted bytes: every access is checked against the buffer, and what does not fit throws.
struct FlatBufferTable {
    let bytes: UnsafeRawBufferPointer
    let position: Int

    struct OutOfBounds: Error {}

    static func root(_ bytes: UnsafeRawBufferPointer) throws -> FlatBufferTable {
        let start = try read(UInt32.self, bytes, 0)
        return FlatBufferTable(bytes: bytes, position: Int(start))
    }

    private static func read<T: FixedWidthInteger>(_ type: T.Type, _ bytes: UnsafeRawBufferPointer, _ position: Int) throws -> T {
        guard position >= 0, position <= bytes.count - MemoryLayout<T>.size else { throw OutOfBounds() }
        return T(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: T.self))
    }

    private func read<T: FixedWidthInteger>(_ type: T.Type, at position: Int) throws -> T { try Self.read(type, bytes, position) }

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
        try field(id).map { FlatBufferTable(bytes: bytes, position: try target($0)) }
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
        return try (0..<count).map { FlatBufferTable(bytes: bytes, position: try target(start + 4 * $0)) }
    }

    /// Structs of `words` 8-byte words each.
    func structs(_ id: Int, words: Int) throws -> FlatBufferStructs {
        let (start, count) = try vector(id, elementSize: 8 * words)
        return FlatBufferStructs(count: count, width: words, words: try (0..<count * words).map { try read(Int64.self, at: start + 8 * $0) })
    }

    func string(_ id: Int) throws -> String {
        let (start, count) = try vector(id, elementSize: 1)
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
