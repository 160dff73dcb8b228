import CZstd
import Files
import Foundation
import Scratch

/// Reads an Arrow IPC file into rows of a table: columns are found by name, others are passed over, nullable ones may
/// be missing (an older or another writer), and whatever does not fit throws an error that names the file and the
/// column. Batches are read one at a time from the mapped file.
package struct ArrowTableReader<Row>: Sendable {
    package let metadata: [String: String]
    package var path: String { file.path }
    package var rowCount: Int { starts.last ?? 0 }
    private let table: Table<Row>
    let file: ArrowFile
    /// The first row of each batch, and behind the last.
    private let starts: [Int]
    /// Columns that the file has, and where the node and the first buffer of each stand in a batch.
    private var columns: [(column: Column<Row>, place: FieldPlace)]
    /// Held for each row that is handed out.
    fileprivate private(set) var rules: [RowRule<Row>]

    package init(path: String, table: Table<Row>) throws {
        self.table = table
        file = try ArrowFile(path: path)
        metadata = file.metadata
        columns = try table.columns.compactMap { [file] column in
            guard let place = try file.place(of: column.field) else { return nil }
            return (column, place)
        }
        rules = table.rules
        starts = try file.batches.reduce(into: [0]) { [file, columns] starts, index in
            let batch = try file.batch(index)
            for (column, place) in columns { try batch.check(place, type: column.type, nullable: column.nullable) }
            let (next, overflows) = starts[starts.count - 1].addingReportingOverflow(batch.rows)
            guard !overflows else { throw ArrowFile.damaged(path, "footer", "more rows than can be counted") }
            starts.append(next)
            file.release(index)
        }
        file.release()
    }

    /// The error of a row that breaks a rule.
    fileprivate func broken(_ fault: RowFault, _ row: Row, _ index: Int) -> FormatError {
        let name = table.nameOf.map { ", \($0(row))" } ?? ""
        return FormatError(
            file: path, place: "row \(index)\(name), column '\(fault.column)'", found: fault.found,
            expected: fault.expected, remedy: table.remedy)
    }

    /// The same file, of which only these columns are looked at; a row's others stay as a row begins. Columns that are
    /// left out cost nothing, not even their decoding; rules that look at one of them are not held.
    package func reading(_ names: Set<String>) -> ArrowTableReader {
        var reader = self
        reader.columns = columns.filter { names.contains($0.column.name) }
        reader.rules = rules.filter { $0.columns.isSubset(of: names) }
        return reader
    }

    /// Rows of each batch, in order.
    package var batches: [Range<Int>] { zip(starts, starts.dropFirst()).map { $0..<$1 } }

    package func forEachRow(_ body: (Row) throws -> Void) throws {
        let cursor = cursor()
        for row in 0..<rowCount { try body(try cursor.row(row)) }
    }

    package func cursor() -> ArrowRowCursor<Row> { ArrowRowCursor(self) }

    /// Rows by their number in the file, best in ascending order. What was mapped for it does not count against this
    /// process afterwards.
    package func rows(at wanted: [Int]) throws -> [Row] {
        let cursor = cursor()
        return try wanted.map(cursor.row)
    }

    package func rows() throws -> [Row] {
        var rows: [Row] = []
        // Not more than a damaged file can ask for without harm.
        rows.reserveCapacity(min(rowCount, 1 << 16))
        try forEachRow { rows.append($0) }
        return rows
    }

    fileprivate func batch(holding row: Int) -> (index: Int, rows: Range<Int>) {
        var low = 0, high = starts.count - 1
        while high - low > 1 {
            let middle = (low + high) / 2
            if starts[middle] <= row { low = middle } else { high = middle }
        }
        return (low, starts[low]..<starts[high])
    }

    /// What fills in a row of a batch, column by column. Bound once for a batch: a row shall cost no more than its
    /// values.
    fileprivate func fills(_ index: Int) throws -> [(inout Row, Int) -> Void] {
        let batch = try file.batch(index)
        return try columns.map { column, place in
            let data = try batch.column(place, type: column.type, nullable: column.nullable), read = column.read
            return { read(&$0, data, $1) }
        }
    }

    /// Columns of a batch; nil where the file has none of that name.
    fileprivate func data(_ index: Int, _ views: [ArrowColumnView]) throws -> [ColumnData?] {
        let batch = try file.batch(index)
        return try views.map { view in
            try columns.first { $0.column.name == view.name }.map {
                view.isPresenceAlone
                    ? try batch.presence($0.place)
                    : try batch.column($0.place, type: $0.column.type, nullable: $0.column.nullable)
            }
        }
    }

    fileprivate var emptyRow: Row { table.make() }

    fileprivate func validity(_ index: Int, _ name: String) throws -> ColumnData? {
        guard let place = try table.columns.first(where: { $0.name == name }).flatMap({ try file.place(of: $0.field) })
        else { return nil }
        return try file.batch(index).presence(place)
    }
}

/// Reads a file's rows in any order, and holds one batch at a time: quick where the next row lies in the same one. Its
/// pages are given back after every megabyte of rows, and when it is left. Not for two threads at once.
package final class ArrowRowCursor<Row> {
    private let reader: ArrowTableReader<Row>
    private let emptyRow: Row
    private let rules: [RowRule<Row>]
    private var batch: (index: Int, rows: Range<Int>) = (-1, 0..<0)
    /// Rows that are read until pages are given back.
    private var chunk = 0
    private var left = 0
    private var fills: [(inout Row, Int) -> Void] = []
    private var presence: [String: ColumnData?] = [:]

    fileprivate init(_ reader: ArrowTableReader<Row>) {
        (self.reader, emptyRow, rules) = (reader, reader.emptyRow, reader.rules)
    }

    deinit { leave() }

    /// Whether a row lies in the batch at hand.
    package func holds(_ row: Int) -> Bool { batch.rows.contains(row) }

    package func row(_ index: Int) throws -> Row {
        try enter(index)
        var row = emptyRow
        for fill in fills { fill(&row, index - batch.rows.lowerBound) }
        for rule in rules { if let fault = rule.fault(row) { throw reader.broken(fault, row, index) } }
        left -= 1
        if left == 0 { leavePages() }
        return row
    }

    /// Whether a row has a value in a column, which need not be among those that are read.
    package func isPresent(_ name: String, _ index: Int) throws -> Bool {
        try enter(index)
        if presence[name] == nil { presence[name] = .some(try reader.validity(batch.index, name)) }
        guard let column = presence[name] ?? nil else { return false }
        return !column.isNull(index - batch.rows.lowerBound)
    }

    private func enter(_ row: Int) throws {
        guard !batch.rows.contains(row) else { return }
        leave()
        let next = reader.batch(holding: row)
        fills = try reader.fills(next.index)
        batch = next
        chunk = max(1, (next.rows.count << 20) / max(1, reader.file.extent(next.index).count))
        left = chunk
    }

    private func leavePages() {
        reader.file.release(batch.index)
        left = chunk
    }

    private func leave() {
        (fills, presence) = ([], [:])
        if batch.index >= 0 { reader.file.release(batch.index) }
        batch = (-1, 0..<0)
    }
}

/// A column that is to be looked at.
package struct ArrowColumnView: Hashable, Sendable {
    package let name: String
    /// Whether a row has a value there, and nothing else: no value is decoded.
    package let isPresenceAlone: Bool

    package static func values(_ name: String) -> ArrowColumnView {
        ArrowColumnView(name: name, isPresenceAlone: false)
    }
    package static func presence(_ name: String) -> ArrowColumnView {
        ArrowColumnView(name: name, isPresenceAlone: true)
    }
}

/// Looks at columns of a file where they lie: for what would cost more to make a row of than to do. Holds one batch at
/// a time, whose pages are given back when it is left. Not for two threads at once.
package final class ArrowColumnCursor<Row> {
    private let reader: ArrowTableReader<Row>
    private let views: [ArrowColumnView]
    private var batch: (index: Int, rows: Range<Int>) = (-1, 0..<0)
    /// Of the file, by column: looked at, one list after the other, and not given back yet.
    private var behind: [Range<Int>]
    /// Owns what `bare` points to.
    private var columns: [ColumnData?] = []
    private let bare: UnsafeMutableBufferPointer<BareColumn?>
    /// Of the file, open for the batch at hand only: a dump may have more files than a process may hold open.
    private var descriptor: Int32 = -1

    package init(_ reader: ArrowTableReader<Row>, _ views: [ArrowColumnView]) {
        (self.reader, self.views) = (reader, views)
        bare = .allocate(capacity: views.count)
        bare.initialize(repeating: nil)
        behind = views.map { _ in 0..<0 }
    }

    deinit {
        leave()
        bare.deallocate()
    }

    /// Whether a row lies in the batch at hand.
    package func holds(_ row: Int) -> Bool { batch.rows.contains(row) }

    /// Until a row of another batch is asked for.
    package func row(_ row: Int) throws -> ArrowRowView { try chunk(around: row).row(row) }

    /// All rows of the batch that a row lies in, until a row of another batch is asked for.
    package func chunk(around row: Int) throws -> ArrowChunk {
        try enter(row)
        return ArrowChunk(rows: batch.rows, columns: UnsafePointer(bare.baseAddress!))
    }

    /// Copies float32s of a row's list at these places. Pages that they alone are wanted of are not mapped for it, as
    /// looking there would: for a few numbers here and there.
    package func copy(_ list: ArrowList, _ places: Range<Int>, into target: UnsafeMutablePointer<Float>) {
        let memory = list.memory(places)
        guard !read(memory, into: target), let base = memory.baseAddress else { return }
        UnsafeMutableRawPointer(target).copyMemory(from: base, byteCount: memory.count)
    }

    /// Says that a list of float32s in a column has been looked at: its pages are given back with those of the lists
    /// before it, a chunk at a time. A batch is longer than what is worth holding.
    package func leaveBehind(_ list: ArrowList, of column: Int) {
        let memory = list.memory(0..<list.count)
        guard let start = reader.file.offset(of: memory) else { return }
        if behind[column].upperBound != start { behind[column] = start..<start }
        behind[column] = behind[column].lowerBound..<start + memory.count
        guard behind[column].count >= Self.longestBehind else { return }
        reader.file.release(behind[column])
        behind[column] = behind[column].upperBound..<behind[column].upperBound
    }

    private static var longestBehind: Int { 1 << 20 }

    /// From the file; false where that can't be.
    private func read(_ memory: UnsafeRawBufferPointer, into target: UnsafeMutablePointer<Float>) -> Bool {
        guard let offset = reader.file.offset(of: memory) else { return false }
        if descriptor < 0 { descriptor = uninterrupted { open(reader.path, O_RDONLY | O_CLOEXEC) } }
        return descriptor >= 0
            && uninterrupted { pread(descriptor, target, memory.count, off_t(offset)) } == memory.count
    }

    private func enter(_ row: Int) throws {
        guard !batch.rows.contains(row) else { return }
        leave()
        let next = reader.batch(holding: row)
        columns = try reader.data(next.index, views)
        for (index, column) in columns.enumerated() { bare[index] = column.map { BareColumn($0) } }
        batch = next
    }

    private func leave() {
        columns = []
        if descriptor >= 0 { close(descriptor) }
        descriptor = -1
        if batch.index >= 0 { reader.file.release(batch.index) }
        batch = (-1, 0..<0)
    }
}

/// A column of a batch without a hold on its memory: looking at a row shall not cost a count of references for each of
/// its columns.
private struct BareColumn: BitwiseCopyable {
    let validity: UnsafeRawBufferPointer
    let offsets: UnsafeRawBufferPointer
    let values: UnsafeRawBufferPointer

    init(_ data: ColumnData) { (validity, offsets, values) = (data.validity.bare, data.offsets.bare, data.values.bare) }

    func isNull(_ row: Int) -> Bool { validity.count > 0 && validity[row / 8] >> UInt8(row % 8) & 1 == 0 }

    func range(_ row: Int) -> Range<Int> {
        let size = MemoryLayout<Int32>.size
        return Int(
            offsets.loadUnaligned(fromByteOffset: row * size, as: Int32.self))..<Int(
                offsets.loadUnaligned(fromByteOffset: (row + 1) * size, as: Int32.self))
    }

    func text(_ row: Int) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: values[range(row)]) }
}

/// Rows of one batch, looked at where they lie.
package struct ArrowChunk {
    package let rows: Range<Int>
    fileprivate let columns: UnsafePointer<BareColumn?>

    package func row(_ row: Int) -> ArrowRowView { ArrowRowView(columns: columns, place: row - rows.lowerBound) }
}

/// One row's values in a cursor's columns, by their number among its views; nil where it has none.
package struct ArrowRowView {
    fileprivate let columns: UnsafePointer<BareColumn?>
    fileprivate let place: Int

    private func present(_ column: Int) -> BareColumn? {
        guard let data = columns[column], !data.isNull(place) else { return nil }
        return data
    }

    package func isPresent(_ column: Int) -> Bool { present(column) != nil }
    package func text(_ column: Int) -> String? { utf8(column).map { String(decoding: $0, as: UTF8.self) } }
    /// A text's bytes, as long as the view.
    package func utf8(_ column: Int) -> UnsafeRawBufferPointer? { present(column)?.text(place) }
    /// Whether a column has this text, or one that begins with it.
    package func hasText(_ text: StaticString, _ column: Int) -> Bool {
        utf8(column).map { $0.count == text.utf8CodeUnitCount && $0.begins(with: text) } ?? false
    }
    package func hasText(_ column: Int, startingWith text: StaticString) -> Bool {
        utf8(column)?.begins(with: text) ?? false
    }
    package func bool(_ column: Int) -> Bool? {
        present(column).map { $0.values[place / 8] >> UInt8(place % 8) & 1 == 1 }
    }
    package func float32(_ column: Int) -> Float? {
        present(column)?.values.loadUnaligned(fromByteOffset: place * MemoryLayout<Float>.size, as: Float.self)
    }
    package func list(_ column: Int) -> ArrowList? {
        present(column).map { ArrowList(values: $0.values, range: $0.range(place)) }
    }

    /// Whether both have the same text in a column of the same number.
    package func hasText(of other: ArrowRowView, _ column: Int) -> Bool {
        guard let own = utf8(column), let others = other.utf8(column) else { return false }
        return own.count == others.count
            && (own.isEmpty || memcmp(own.baseAddress!, others.baseAddress!, own.count) == 0)
    }
}

extension UnsafeRawBufferPointer {
    fileprivate func begins(with text: StaticString) -> Bool {
        count >= text.utf8CodeUnitCount && memcmp(baseAddress!, text.utf8Start, text.utf8CodeUnitCount) == 0
    }
}

/// One row's list as it lies in the file, as long as the view that gave it.
package struct ArrowList {
    fileprivate let values: UnsafeRawBufferPointer
    fileprivate let range: Range<Int>

    package var count: Int { range.count }

    /// Float32s at these places.
    fileprivate func memory(_ places: Range<Int>) -> UnsafeRawBufferPointer {
        let size = MemoryLayout<Float>.size, inside = places.clamped(to: 0..<count)
        return UnsafeRawBufferPointer(
            rebasing: values[
                (range.lowerBound + inside.lowerBound) * size..<(range.lowerBound + inside.upperBound) * size])
    }

    /// Where the trues of these numbers, from 0, of a list of booleans are: chunk after chunk.
    package func places(ofTrues wanted: Range<Int>, _ body: (Range<Int>) throws -> Void) rethrows {
        if let run = BitPacking.onlyRun(values, range) {
            return try body((run.lowerBound + wanted.lowerBound..<run.lowerBound + wanted.upperBound).clamped(to: run))
        }
        for chunk in BitPacking.runs(values, range, ofSetBits: wanted) { try body(chunk) }
    }

    /// How many of a list of booleans are true.
    package var trueCount: Int { BitPacking.count(values, range) }

    /// A list of float32 at the places where this list of booleans is true: where it lies if those are side by side,
    /// else gathered in `scratch`, which has room for all. Lasts as long as the cursor stays and nothing else is
    /// gathered there. The lists have one length.
    package func marked(_ floats: ArrowList, scratch: UnsafeMutablePointer<Float>) -> UnsafeBufferPointer<Float> {
        precondition(floats.count == count, "two lists of one length")
        guard let start = floats.values.baseAddress.map({ $0 + floats.range.lowerBound * MemoryLayout<Float>.size })
        else {
            return UnsafeBufferPointer(start: scratch, count: 0)
        }
        if let run = BitPacking.onlyRun(values, range), Int(bitPattern: start) % MemoryLayout<Float>.alignment == 0 {
            return UnsafeBufferPointer(
                start: start.assumingMemoryBound(to: Float.self) + run.lowerBound, count: run.count)
        }
        return UnsafeBufferPointer(start: scratch, count: BitPacking.gather(values, range, start, into: scratch))
    }
}

struct FieldPlace: Sendable {
    let name: String
    let node: Int
    let buffer: Int
}

/// The footer of a file: schema, metadata and where the batches lie.
struct ArrowFile: Sendable {
    let path: String
    let metadata: [String: String]
    let batches: Range<Int>
    private let file: MappedFile
    private let fields: [ArrowField]
    private let blocks: FlatBufferStructs

    init(path: String) throws {
        self.path = path
        file = try MappedFile(path: path)
        let footer = try Self.footer(file)
        do {
            guard let schema = try footer.table(1) else { throw FlatBufferTable.OutOfBounds() }
            guard try schema.value(0, default: Int16(0)) == 0 else {
                throw FormatError(file: path, place: "schema", found: "big-endian data", expected: "little-endian data")
            }
            fields = try schema.tables(1).map { try Self.field($0, depth: 0, path) }
            metadata = try Dictionary(
                schema.tables(2).map { (try $0.string(0), try $0.string(1)) }, uniquingKeysWith: { $1 })
            blocks = try footer.structs(3, words: 3)
        } catch let fault as FlatBufferTable.OutOfBounds { throw Self.damaged(path, "footer", fault.found) }
        batches = 0..<blocks.count
        try requireBatchesApart()
    }

    /// A batch that stands for several would make a few bytes of footer many rows.
    private func requireBatchesApart() throws {
        var end: Int64 = 0
        for index in batches.sorted(by: { blocks[$0, 0] < blocks[$1, 0] }) {
            let start = blocks[index, 0], length = Int64(Int32(truncatingIfNeeded: blocks[index, 1]))
            let (body, overflows) = blocks[index, 2].addingReportingOverflow(length)
            let (next, overflowsToo) = start.addingReportingOverflow(body)
            guard start >= end, body >= 0, !overflows, !overflowsToo else {
                throw Self.damaged(path, "footer", "batches that lie in one another or outside the file")
            }
            end = next
        }
    }

    static func damaged(_ path: String, _ place: String, _ found: String) -> FormatError {
        FormatError(
            file: path, place: place, found: found, expected: "an undamaged Arrow IPC file",
            remedy: "Run the stage that wrote it again, with --overwrite.")
    }

    private static func footer(_ file: MappedFile) throws -> FlatBufferTable {
        let bytes = file.bytes, magic = ArrowFormat.magic
        guard bytes.count >= 24, Array(bytes[..<6]) == magic else {
            throw FormatError(
                file: file.path, place: "start", found: "no ARROW1 mark",
                expected: "an Arrow IPC file (also called Feather V2)")
        }
        guard Array(bytes[(bytes.count - 6)...]) == magic else {
            throw FormatError(
                file: file.path, place: "end", found: "no footer", expected: "a whole Arrow IPC file",
                remedy: "Its writer was interrupted; run that stage again.")
        }
        let length = Int(Int32(littleEndian: bytes.loadUnaligned(fromByteOffset: bytes.count - 10, as: Int32.self)))
        guard length > 0, length <= bytes.count - 18 else {
            throw damaged(file.path, "footer", "a footer of \(length) bytes")
        }
        do {
            return try .root(UnsafeRawBufferPointer(rebasing: bytes[bytes.count - 10 - length..<bytes.count - 10]))
        } catch { throw damaged(file.path, "footer", "offsets that leave the file") }
    }

    private static func field(_ table: FlatBufferTable, depth: Int, _ path: String) throws -> ArrowField {
        guard depth < 16 else { throw FlatBufferTable.OutOfBounds(found: "fields within fields, more than 16 deep") }
        let name = try table.string(0)
        let children = try table.tables(5).map { try field($0, depth: depth + 1, path) }
        let dictionary = try table.table(4) != nil
        let type = try type(table, children: children.map(\.type))
        return ArrowField(
            name: name, type: dictionary ? .other("dictionary<\(type)>", buffers: 2, children: []) : type,
            nullable: try table.value(1, default: UInt8(0)) != 0)
    }

    private static func type(_ table: FlatBufferTable, children: [ArrowType]) throws -> ArrowType {
        let id = try table.value(2, default: UInt8(0)), detail = try table.table(3)
        switch id {
        case ArrowFormat.TypeID.int:
            let bits = try detail?.value(0, default: Int32(0)) ?? 0,
                signed = try detail?.value(1, default: UInt8(0)) ?? 0
            if signed != 0, bits == 32 { return .int32 }
            if signed != 0, bits == 64 { return .int64 }
            if signed == 0, bits == 16 { return .uint16 }
            return .other("\(signed != 0 ? "" : "u")int\(bits)", buffers: 2, children: [])
        case ArrowFormat.TypeID.floatingPoint:
            let precision = try detail?.value(0, default: Int16(0)) ?? 0
            return precision == 1 ? .float32 : precision == 2 ? .float64 : .other("float16", buffers: 2, children: [])
        case ArrowFormat.TypeID.utf8: return .utf8
        case ArrowFormat.TypeID.bool: return .bool
        case ArrowFormat.TypeID.list where children.count == 1: return .list(children[0])
        default:
            guard let known = ArrowFormat.names[id] else {
                return .other("type number \(id)", buffers: -1, children: children)
            }
            return .other(known.name, buffers: known.buffers, children: children)
        }
    }

    /// Finds a column by name and checks its type; counts the nodes and buffers of what stands before it. nil where a
    /// nullable column is missing.
    func place(of wanted: ArrowField) throws -> FieldPlace? {
        var node = 0, buffer = 0
        guard fields.count(where: { $0.name == wanted.name }) <= 1 else {
            throw FormatError(
                file: path, place: "column '\(wanted.name)'", found: "several columns of that name", expected: "one")
        }
        for field in fields {
            if field.name == wanted.name {
                guard field.type == wanted.type else {
                    throw FormatError(
                        file: path, place: "column '\(field.name)'", found: "type \(field.type)",
                        expected: "\(wanted.type)")
                }
                return FieldPlace(name: field.name, node: node, buffer: buffer)
            }
            let (nodes, buffers) = try Self.extent(field.type, path: path, column: field.name)
            node += nodes
            buffer += buffers
        }
        if wanted.nullable { return nil }
        throw FormatError(
            file: path, place: "",
            found: "no column '\(wanted.name)' among \(fields.map(\.name).joined(separator: ", "))",
            expected: "it, of type \(wanted.type)")
    }

    private static func extent(_ type: ArrowType, path: String, column: String) throws -> (Int, Int) {
        guard type.bufferCount >= 0 else {
            throw FormatError(
                file: path, place: "column '\(column)'", found: type.description,
                expected: "a type with a fixed number of buffers")
        }
        return try type.children.reduce((1, type.bufferCount)) { sum, child in
            let (nodes, buffers) = try extent(child, path: path, column: column)
            return (sum.0 + nodes, sum.1 + buffers)
        }
    }

    func offset(of memory: UnsafeRawBufferPointer) -> Int? { file.offset(of: memory) }

    /// Gives back all pages.
    func release() { file.release(0..<file.bytes.count) }

    /// Gives back the pages of a chunk.
    func release(_ range: Range<Int>) { file.release(range) }

    /// Gives back the pages of a batch; whoever still looks at it reads them anew.
    func release(_ index: Int) { file.release(extent(index)) }

    /// Where a batch lies in the file.
    func extent(_ index: Int) -> Range<Int> {
        let start = Int(blocks[index, 0]),
            length = Int(Int32(truncatingIfNeeded: blocks[index, 1])) + Int(blocks[index, 2])
        return start..<start + length
    }

    func batch(_ index: Int) throws -> ArrowBatch {
        let place = "batch \(index)"
        let offset = Int(blocks[index, 0]), length = Int(Int32(truncatingIfNeeded: blocks[index, 1])),
            bodyLength = Int(blocks[index, 2])
        guard offset >= 0, length >= 16, bodyLength >= 0, offset <= file.bytes.count,
            length <= file.bytes.count - offset,
            bodyLength <= file.bytes.count - offset - length
        else { throw Self.damaged(path, place, "a place outside the file") }
        guard file.bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self) == .max else {
            throw Self.damaged(path, place, "no message where the footer says that one begins")
        }
        let message = UnsafeRawBufferPointer(rebasing: file.bytes[offset + 8..<offset + length])
        let body = UnsafeRawBufferPointer(rebasing: file.bytes[offset + length..<offset + length + bodyLength])
        do { return try ArrowBatch(message: message, body: body, path: path, place: place) } catch let fault
            as FlatBufferTable.OutOfBounds
        {
            throw Self.damaged(path, place, fault.found)
        }
    }
}

/// One record batch: its rows, nodes and buffers, all checked against the body.
struct ArrowBatch {
    let rows: Int
    private let nodes: FlatBufferStructs
    private let buffers: FlatBufferStructs
    private let compressed: Bool
    private let body: UnsafeRawBufferPointer
    private let path: String
    private let place: String

    init(message: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer, path: String, place: String) throws {
        let root = try FlatBufferTable.root(message)
        guard try root.value(1, default: UInt8(0)) == ArrowFormat.Header.recordBatch, let batch = try root.table(2)
        else {
            throw FormatError(file: path, place: place, found: "a message of another kind", expected: "a record batch")
        }
        rows = Int(try batch.value(0, default: Int64(0)))
        guard rows >= 0, rows < 1 << 40 else { throw FlatBufferTable.OutOfBounds(found: "a batch of \(rows) rows") }
        nodes = try batch.structs(1, words: 2)
        buffers = try batch.structs(2, words: 2)
        compressed = try Self.codec(try batch.table(3), path, place)
        self.body = body
        self.path = path
        self.place = place
    }

    private static func codec(_ table: FlatBufferTable?, _ path: String, _ place: String) throws -> Bool {
        guard let table else { return false }
        guard try table.value(0, default: Int8(0)) == 1 else {
            throw FormatError(
                file: path, place: place, found: "LZ4-compressed buffers", expected: "plain or zstd-compressed buffers",
                remedy: "Write the file with compression='zstd' or 'uncompressed'.")
        }
        guard try table.value(1, default: Int8(0)) == 0 else {
            throw FormatError(
                file: path, place: place, found: "another kind of compression than by buffer",
                expected: "buffers compressed one by one")
        }
        return true
    }

    /// Throws where the batch has no room for a column of so many rows, by lengths alone: nothing is decoded, so that a
    /// number of rows may be believed before a row is read.
    func check(_ field: FieldPlace, type: ArrowType, nullable: Bool) throws {
        let nulls = try node(field.node, rows: rows, field).nulls
        guard nullable || nulls == 0 else { throw bad(field, "\(nulls) nulls", "none") }
        if nulls > 0 { _ = try stored(field.buffer, atLeast: (rows + 7) / 8, field) }
        switch type {
        case .utf8:
            if rows > 0 { _ = try stored(field.buffer + 1, atLeast: 4 * (rows + 1), field) }
        case .list(let element):
            if rows > 0 { _ = try stored(field.buffer + 1, atLeast: 4 * (rows + 1), field) }
            _ = try stored(
                field.buffer + 3, atLeast: byteCount(element, try node(field.node + 1, rows: nil, field).length), field)
        default: _ = try stored(field.buffer + 1, atLeast: byteCount(type, rows), field)
        }
    }

    /// A column's data with every length checked, so that reading a row cannot leave a buffer.
    func column(_ field: FieldPlace, type: ArrowType, nullable: Bool) throws -> ColumnData {
        let nulls = try node(field.node, rows: rows, field).nulls
        guard nullable || nulls == 0 else { throw bad(field, "\(nulls) nulls", "none") }
        let validity = nulls == 0 ? .empty : try buffer(field.buffer, atLeast: (rows + 7) / 8, field)
        switch type {
        case .utf8:
            let (offsets, end) = try offsets(field.buffer + 1, field)
            let text = try buffer(field.buffer + 2, atLeast: end, field)
            return ColumnData(rows: rows, validity: validity, offsets: offsets, values: text, childNulls: false)
        case .list(let element):
            let (offsets, end) = try offsets(field.buffer + 1, field)
            let child = try node(field.node + 1, rows: nil, field)
            guard end <= child.length else {
                throw bad(field, "list offsets up to \(end)", "at most \(child.length) list entries")
            }
            guard child.nulls == 0 else { throw bad(field, "\(child.nulls) nulls inside lists", "none") }
            let values = try buffer(field.buffer + 3, atLeast: byteCount(element, child.length), field)
            return ColumnData(rows: rows, validity: validity, offsets: offsets, values: values, childNulls: false)
        default:
            let values = try buffer(field.buffer + 1, atLeast: byteCount(type, rows), field)
            return ColumnData(rows: rows, validity: validity, offsets: .empty, values: values, childNulls: false)
        }
    }

    /// Which rows have a value, and nothing else.
    func presence(_ field: FieldPlace) throws -> ColumnData {
        let nulls = try node(field.node, rows: rows, field).nulls, none = ArrowBuffer.empty
        let validity = nulls == 0 ? none : try buffer(field.buffer, atLeast: (rows + 7) / 8, field)
        return ColumnData(rows: rows, validity: validity, offsets: none, values: none, childNulls: false)
    }

    private func byteCount(_ type: ArrowType, _ count: Int) -> Int {
        switch type {
        case .bool: (count + 7) / 8
        case .uint16: 2 * count
        case .int64, .float64: 8 * count
        default: 4 * count
        }
    }

    private func bad(_ field: FieldPlace, _ found: String, _ expected: String) -> FormatError {
        FormatError(file: path, place: "\(place), column '\(field.name)'", found: found, expected: expected)
    }

    private func node(_ index: Int, rows: Int?, _ field: FieldPlace) throws -> (length: Int, nulls: Int) {
        guard index < nodes.count else { throw bad(field, "\(nodes.count) field nodes", "more than \(index)") }
        let length = Int(nodes[index, 0]), nulls = Int(nodes[index, 1])
        guard length >= 0, length < 1 << 40, nulls >= 0, rows == nil || length == rows else {
            throw bad(
                field, "\(length) entries with \(nulls) nulls", "\(rows.map(String.init) ?? "a sane number of") entries"
            )
        }
        return (length, nulls)
    }

    /// `rows + 1` offsets that never fall; also the last of them.
    private func offsets(_ index: Int, _ field: FieldPlace) throws -> (ArrowBuffer, Int) {
        guard rows > 0 else { return (.zeroOffset, 0) }
        let offsets = try buffer(index, atLeast: 4 * (rows + 1), field)
        var last: Int32 = 0
        for row in 0...rows {
            let next = offsets.load(row, as: Int32.self)
            guard next >= last else { throw bad(field, "offset \(next) after \(last)", "offsets that never fall") }
            last = next
        }
        return (offsets, Int(last))
    }

    /// A buffer as it lies in the body, and how long it is when it is decoded.
    private struct StoredBuffer {
        let bytes: UnsafeRawBufferPointer
        let length: Int
        let isCompressed: Bool
    }

    private func stored(_ index: Int, atLeast wanted: Int, _ field: FieldPlace) throws -> StoredBuffer {
        guard index < buffers.count else { throw bad(field, "\(buffers.count) buffers", "more than \(index)") }
        let offset = Int(buffers[index, 0]), length = Int(buffers[index, 1])
        guard offset >= 0, length >= 0, offset <= body.count, length <= body.count - offset else {
            throw bad(field, "a buffer at \(offset) of \(length) bytes", "it within the batch's \(body.count)")
        }
        let stored = try self.stored(UnsafeRawBufferPointer(rebasing: body[offset..<offset + length]), wanted, field)
        guard stored.length >= wanted else {
            throw bad(field, "a buffer of \(stored.length) bytes", "at least \(wanted)")
        }
        return stored
    }

    private func stored(_ bytes: UnsafeRawBufferPointer, _ wanted: Int, _ field: FieldPlace) throws -> StoredBuffer {
        guard compressed, !bytes.isEmpty else {
            return StoredBuffer(bytes: bytes, length: bytes.count, isCompressed: false)
        }
        guard bytes.count >= 8 else { throw bad(field, "a compressed buffer of \(bytes.count) bytes", "at least 8") }
        let length = Int(Int64(littleEndian: bytes.loadUnaligned(as: Int64.self))),
            payload = UnsafeRawBufferPointer(rebasing: bytes[8...])
        if length == -1 { return StoredBuffer(bytes: payload, length: payload.count, isCompressed: false) }
        // Writers pad buffers, never by much: a length far above the need is damage or malice. So is one that such a
        // frame can't have, or that would fill memory from next to nothing.
        guard length >= 0, length <= min(payload.count << 15, max(Self.mostDecoded, payload.count << 10)),
            length <= wanted + (1 << 20) || length <= payload.count << 12
        else {
            throw bad(field, "a compressed buffer of \(payload.count) bytes that claims \(length)", "about \(wanted)")
        }
        let declared = ZSTD_getFrameContentSize(payload.baseAddress, payload.count)
        guard length == 0 || declared == UInt64(length) || declared == .max else {
            throw bad(field, "a zstd frame of another length", "\(length) bytes")
        }
        return StoredBuffer(bytes: payload, length: length, isCompressed: true)
    }

    /// A buffer may be decoded to that, however few bytes it has.
    private static let mostDecoded = 1 << 30

    private func buffer(_ index: Int, atLeast wanted: Int, _ field: FieldPlace) throws -> ArrowBuffer {
        let stored = try stored(index, atLeast: wanted, field)
        return stored.isCompressed ? try decompress(stored, field) : ArrowBuffer(mapped: stored.bytes)
    }

    private func decompress(_ stored: StoredBuffer, _ field: FieldPlace) throws -> ArrowBuffer {
        guard let target = ArrowBuffer.Storage(count: stored.length) else {
            throw IOError(
                file: path, action: "decode \(stored.length) bytes of \(place), column '\(field.name)'", code: ENOMEM)
        }
        let size = ZSTD_decompress(
            target.bytes.baseAddress, stored.length, stored.bytes.baseAddress, stored.bytes.count)
        guard ZSTD_isError(size) == 0, size == stored.length else {
            throw bad(field, "a damaged zstd buffer", "\(stored.length) bytes")
        }
        return ArrowBuffer(target)
    }
}
