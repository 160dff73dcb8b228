/// Builds a FlatBuffer back to front: enough of the format for Arrow's metadata. Offsets count from the end of the
/// buffer until `finish` turns it round.
struct FlatBufferBuilder {
    /// The buffer reversed: what is pushed last comes first in the file.
    private var reversed: [UInt8] = []
    private var alignment = 1
    private var fields: [(id: Int, offset: Int)] = []
    private var tableStart = 0

    var offset: Int { reversed.count }

    /// Pads so that after `extra` more bytes the position is a multiple of `size`.
    private mutating func align(_ size: Int, extra: Int = 0) {
        alignment = max(alignment, size)
        while (reversed.count + extra) % size != 0 { reversed.append(0) }
    }

    private mutating func put<T: FixedWidthInteger>(_ value: T) {
        withUnsafeBytes(of: value.littleEndian) { reversed.append(contentsOf: $0.reversed()) }
    }

    private mutating func push<T: FixedWidthInteger>(_ value: T) {
        align(MemoryLayout<T>.size)
        put(value)
    }

    private mutating func pushReference(_ target: Int) {
        align(4)
        put(UInt32(offset - target + 4))
    }

    mutating func string(_ text: String) -> Int {
        let bytes = Array(text.utf8)
        align(4, extra: bytes.count + 1)
        put(UInt8(0))
        reversed.append(contentsOf: bytes.reversed())
        put(UInt32(bytes.count))
        return offset
    }

    mutating func vector(of targets: [Int]) -> Int {
        align(4, extra: 4 * targets.count)
        for target in targets.reversed() { pushReference(target) }
        put(UInt32(targets.count))
        return offset
    }

    /// A vector of structs made of 8-byte words, each struct given in field order.
    mutating func structs(_ rows: [[Int64]]) -> Int {
        let bytes = 8 * rows.reduce(0) { $0 + $1.count }
        align(4, extra: bytes)
        align(8, extra: bytes)
        for row in rows.reversed() { for word in row.reversed() { put(word) } }
        put(UInt32(rows.count))
        return offset
    }

    mutating func startTable() {
        fields = []
        tableStart = offset
    }

    mutating func add<T: FixedWidthInteger>(_ id: Int, _ value: T) {
        push(value)
        fields.append((id, offset))
    }

    mutating func addReference(_ id: Int, _ target: Int) {
        pushReference(target)
        fields.append((id, offset))
    }

    mutating func endTable() -> Int {
        push(Int32(0))
        let table = offset
        var slots = [UInt16](repeating: 0, count: (fields.map(\.id).max() ?? -1) + 1)
        for field in fields { slots[field.id] = UInt16(table - field.offset) }
        for slot in slots.reversed() { put(slot) }
        put(UInt16(table - tableStart))
        put(UInt16(4 + 2 * slots.count))
        patchTable(table, distance: Int32(offset - table))
        return table
    }

    /// The table's first word is the distance back to its field list.
    private mutating func patchTable(_ table: Int, distance: Int32) {
        withUnsafeBytes(of: distance.littleEndian) { bytes in
            for i in 0..<4 { reversed[table - 1 - i] = bytes[i] }
        }
    }

    mutating func finish(_ root: Int) -> [UInt8] {
        align(max(alignment, 8), extra: 4)
        pushReference(root)
        return reversed.reversed()
    }
}
