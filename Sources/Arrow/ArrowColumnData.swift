import Foundation

/// A column of one batch while it is being built: values back to back, lists by their lengths.
package struct ColumnBuilder {
    private(set) var rows = 0
    private var validity: [UInt8] = []
    private(set) var nulls = 0
    private var offsets: [Int32] = [0]
    private var childRows = 0
    private var bytes: [UInt8] = []
    /// Bits of a bool column or of a list of bools.
    private var bits: [UInt8] = []
    private var bitCount = 0
    /// Bytes of the last batch's values.
    private var filled = 0

    private mutating func mark(_ valid: Bool) {
        if rows % 8 == 0 { validity.append(0) }
        if valid { validity[rows / 8] |= 1 << UInt8(rows % 8) } else { nulls += 1 }
        rows += 1
    }

    private mutating func appendBit(_ bit: Bool) {
        if bitCount % 8 == 0 { bits.append(0) }
        if bit { bits[bitCount / 8] |= 1 << UInt8(bitCount % 8) }
        bitCount += 1
    }

    private mutating func append(word value: some FixedWidthInteger, isNull: Bool) {
        mark(!isNull)
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    package mutating func append(_ value: Int32?) { append(word: value ?? 0, isNull: value == nil) }
    package mutating func append(_ value: Int64?) { append(word: value ?? 0, isNull: value == nil) }
    package mutating func append(_ value: Float?) { append(word: (value ?? 0).bitPattern, isNull: value == nil) }
    package mutating func append(_ value: Double?) { append(word: (value ?? 0).bitPattern, isNull: value == nil) }

    package mutating func append(_ value: Bool?) {
        mark(value != nil)
        appendBit(value ?? false)
    }

    package mutating func append(_ value: String?) {
        mark(value != nil)
        bytes.append(contentsOf: (value ?? "").utf8)
        offsets.append(Int32(bytes.count))
    }

    package mutating func append(list: [UInt16]?) { append(words: list) }
    package mutating func append(list: [Int32]?) { append(words: list) }
    package mutating func append(list: [Float]?) { append(words: list) }

    private mutating func append(words list: [some BitwiseCopyable]?) {
        mark(list != nil)
        list?.withUnsafeBytes { bytes.append(contentsOf: $0) }
        childRows += list?.count ?? 0
        offsets.append(Int32(childRows))
    }

    package mutating func append(bits list: [Bool]?) {
        mark(list != nil)
        if let list { appendBits(list) }
        childRows += list?.count ?? 0
        offsets.append(Int32(childRows))
    }

    private mutating func appendBits(_ list: [Bool]) {
        let end = bitCount + list.count
        bits.append(contentsOf: repeatElement(0, count: (end + 7) / 8 - bits.count))
        list.withUnsafeBytes { source in bits.withUnsafeMutableBytes { BitPacking.pack(source, into: $0, at: bitCount) }
        }
        bitCount = end
    }

    /// The value of a column of one row.
    func number(_ type: ArrowType) -> CellNumber {
        guard nulls == 0 else { return .null }
        return bytes.withUnsafeBytes { bytes in
            switch type {
            case .int32: .integer(Int64(bytes.loadUnaligned(as: Int32.self)))
            case .int64: .integer(bytes.loadUnaligned(as: Int64.self))
            case .float32: .real(Double(bytes.loadUnaligned(as: Float.self)))
            case .float64: .real(bytes.loadUnaligned(as: Double.self))
            default: .null
            }
        }
    }

    /// Empties the column for the next batch; what was built is somebody else's now.
    mutating func clear() {
        filled = max(bytes.count, bits.count)
        (rows, nulls, childRows, bitCount) = (0, 0, 0, 0)
        (validity, bytes, bits) = ([], [], [])
        offsets.removeAll(keepingCapacity: true)
        offsets.append(0)
    }

    /// Gives an empty column the memory of its values in an earlier batch, with a little more room than the last one
    /// needed: a batch that outgrew it by a row would double it.
    mutating func reuse(_ earlier: inout [UInt8], _ type: ArrowType) {
        let values: WritableKeyPath<Self, [UInt8]> = type == .bool || type == .list(.bool) ? \.bits : \.bytes
        earlier.removeAll(keepingCapacity: true)
        earlier.reserveCapacity(filled + filled / 16)
        swap(&earlier, &self[keyPath: values])
    }

    /// Field nodes (length, nulls) and buffers in Arrow's pre-order. No bitmap is written where nothing is null.
    func parts(_ type: ArrowType) -> (nodes: [[Int64]], buffers: [[UInt8]]) {
        let node: [Int64] = [Int64(rows), Int64(nulls)], valid = nulls == 0 ? [] : validity
        let lengths = offsets.withUnsafeBytes { Array($0) }
        switch type {
        case .bool: return ([node], [valid, bits])
        case .utf8: return ([node], [valid, lengths, bytes])
        case .list(.bool): return ([node, [Int64(childRows), 0]], [valid, lengths, [], bits])
        case .list: return ([node, [Int64(childRows), 0]], [valid, lengths, [], bytes])
        default: return ([node], [valid, bytes])
        }
    }
}

/// A column of one batch as it was read: checked buffers, values handed out by row.
package struct ColumnData {
    let rows: Int
    let validity: ArrowBuffer
    let offsets: ArrowBuffer
    let values: ArrowBuffer
    let childNulls: Bool

    func isNull(_ row: Int) -> Bool { validity.count > 0 && !validity.bit(row) }

    package func int32(_ row: Int) -> Int32? { isNull(row) ? nil : values.load(row, as: Int32.self) }
    package func int64(_ row: Int) -> Int64? { isNull(row) ? nil : values.load(row, as: Int64.self) }
    package func float32(_ row: Int) -> Float? { isNull(row) ? nil : values.load(row, as: Float.self) }
    package func float64(_ row: Int) -> Double? { isNull(row) ? nil : values.load(row, as: Double.self) }
    package func bool(_ row: Int) -> Bool? { isNull(row) ? nil : values.bit(row) }

    func range(_ row: Int) -> Range<Int> {
        Int(offsets.load(row, as: Int32.self))..<Int(offsets.load(row + 1, as: Int32.self))
    }

    package func string(_ row: Int) -> String? { isNull(row) ? nil : values.text(range(row)) }

    package func uint16s(_ row: Int) -> [UInt16]? { isNull(row) ? nil : values.array(range(row), of: UInt16.self) }
    package func int32s(_ row: Int) -> [Int32]? { isNull(row) ? nil : values.array(range(row), of: Int32.self) }
    package func float32s(_ row: Int) -> [Float]? { isNull(row) ? nil : values.array(range(row), of: Float.self) }
    package func bools(_ row: Int) -> [Bool]? { isNull(row) ? nil : values.bools(range(row)) }
}

/// A body buffer: a chunk of the mapped file, or what zstd made of one. Whoever holds it keeps the file mapped.
struct ArrowBuffer {
    /// Owns decompressed bytes; nil where the file is mapped.
    private let storage: Storage?
    private let bytes: UnsafeRawBufferPointer

    /// Bytes that were not in the file as such.
    final class Storage {
        let bytes: UnsafeMutableRawBufferPointer

        /// Nil where there is no memory for so many.
        init?(count: Int) {
            var start: UnsafeMutableRawPointer?
            guard posix_memalign(&start, 64, max(1, count)) == 0 else { return nil }
            bytes = UnsafeMutableRawBufferPointer(start: start, count: count)
        }

        deinit { free(bytes.baseAddress) }
    }

    static var empty: ArrowBuffer { ArrowBuffer(mapped: UnsafeRawBufferPointer(start: nil, count: 0)) }
    /// The offsets of no rows.
    static var zeroOffset: ArrowBuffer {
        ArrowBuffer(mapped: UnsafeRawBufferPointer(start: oneZero, count: MemoryLayout<Int32>.size))
    }
    nonisolated(unsafe) private static let oneZero: UnsafeMutablePointer<Int32> = {
        let zero = UnsafeMutablePointer<Int32>.allocate(capacity: 1)
        zero.initialize(to: 0)
        return zero
    }()

    init(mapped: UnsafeRawBufferPointer) {
        bytes = mapped
        storage = nil
    }

    init(_ storage: Storage) {
        self.storage = storage
        bytes = UnsafeRawBufferPointer(storage.bytes)
    }

    var count: Int { bytes.count }

    /// The bytes without a hold on them: for who holds the buffer meanwhile.
    var bare: UnsafeRawBufferPointer { bytes }

    func with<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try withExtendedLifetime(storage) { try body(bytes) }
    }

    func bools(_ range: Range<Int>) -> [Bool] {
        with { bytes in
            [Bool](unsafeUninitializedCapacity: range.count) { target, count in
                BitPacking.unpack(bytes, range, into: UnsafeMutableRawBufferPointer(target))
                count = range.count
            }
        }
    }

    func bit(_ index: Int) -> Bool { with { $0[index / 8] >> UInt8(index % 8) & 1 == 1 } }

    func load<T: BitwiseCopyable>(_ index: Int, as type: T.Type) -> T {
        with { $0.loadUnaligned(fromByteOffset: index * MemoryLayout<T>.size, as: type) }
    }

    func array<T: BitwiseCopyable>(_ range: Range<Int>, of type: T.Type) -> [T] {
        let size = MemoryLayout<T>.size
        return with { bytes in
            [T](unsafeUninitializedCapacity: range.count) { target, count in
                UnsafeMutableRawBufferPointer(target).copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: bytes[range.lowerBound * size..<range.upperBound * size]))
                count = range.count
            }
        }
    }

    func text(_ range: Range<Int>) -> String { with { String(decoding: $0[range], as: UTF8.self) } }
}
