import CZstd
import Files

/// Rows on their way into one record batch. Batches are cut by a fixed rule, so that a file's bytes depend on its rows
/// alone; several may be made at once and written in order.
package struct ArrowBatchBuilder<Row> {
    private let table: Table<Row>
    /// Beside the table: to copy a whole column for each value would cost more than most values do.
    private let writes: [@Sendable (Row, inout ColumnBuilder) -> Void]
    private var builders: [ColumnBuilder]
    private var weight = 0

    package init(_ table: Table<Row>) {
        self.table = table
        writes = table.columns.map(\.write)
        builders = table.columns.map { _ in ColumnBuilder() }
    }

    package var rows: Int { builders[0].rows }
    package var isFull: Bool { ArrowBatchRule.isFull(rows: rows, weight: weight) }

    package mutating func append(_ row: Row) {
        for index in writes.indices { writes[index](row, &builders[index]) }
        weight += table.weight(row)
    }

    /// Makes room for a batch like one that is written, in its memory where nobody else has that.
    package mutating func reuse(_ batch: consuming ArrowBatchBytes) {
        guard rows == 0 else { return }
        var buffers = batch.releaseBuffers(), last = -1
        for (index, column) in table.columns.enumerated() {
            last += column.type.bufferTotal
            builders[index].reuse(&buffers[last], column.type)
        }
    }

    /// The batch as it will lie in the file; the builder begins the next one.
    package mutating func take(_ compression: ArrowCompression) throws -> ArrowBatchBytes {
        let parts = zip(builders, table.columns).map { $0.parts($1.type) }
        var batch = ArrowBatchBytes(rows: rows, nodes: parts.flatMap(\.nodes))
        for buffer in parts.flatMap(\.buffers) { batch.append(try compression.stored(buffer)) }
        for index in builders.indices { builders[index].clear() }
        weight = 0
        return batch
    }
}

/// Where one batch ends and the next begins.
package enum ArrowBatchRule {
    package static func isFull(rows: Int, weight: Int) -> Bool { weight >= 1 << 20 || rows >= 8192 }
}

/// A record batch's body, buffer by buffer, with what its message says of it.
package struct ArrowBatchBytes: Sendable {
    let rows: Int
    let nodes: [[Int64]]
    /// Where each buffer begins in the body, and its length without the padding that follows it.
    private(set) var buffers: [[Int64]] = []
    fileprivate private(set) var body: [[UInt8]] = []
    fileprivate private(set) var bodyLength = 0

    init(rows: Int, nodes: [[Int64]]) { (self.rows, self.nodes) = (rows, nodes) }

    /// The body, which it has no more.
    fileprivate mutating func releaseBuffers() -> [[UInt8]] {
        defer { body = [] }
        return body
    }

    fileprivate mutating func append(_ stored: [UInt8]) {
        buffers.append([Int64(bodyLength), Int64(stored.count)])
        body.append(stored)
        bodyLength += ArrowFormat.padded(stored.count)
    }
}

extension ArrowCompression {
    /// Uncompressed length as int64, then the zstd frame; -1 and the bytes themselves where that is not smaller.
    fileprivate func stored(_ buffer: [UInt8]) throws -> [UInt8] {
        guard case .zstd(let level) = self, !buffer.isEmpty else { return buffer }
        var target = [UInt8](repeating: 0, count: ZSTD_compressBound(buffer.count))
        let size = ZSTD_compress(&target, target.count, buffer, buffer.count, level)
        let worth = ZSTD_isError(size) == 0 && size < buffer.count
        let prefix = withUnsafeBytes(of: Int64(worth ? buffer.count : -1).littleEndian) { Array($0) }
        return prefix + (worth ? Array(target[..<size]) : buffer)
    }
}

/// Writes one Arrow IPC file; its metadata is sorted.
package struct ArrowTableWriter<Row> {
    private let table: Table<Row>
    private let compression: ArrowCompression
    private let file: AtomicFile
    private let metadata: [(String, String)]
    private var pending: ArrowBatchBuilder<Row>
    private var blocks: [[Int64]] = []
    package private(set) var rowCount = 0

    package init(path: String, table: Table<Row>, metadata: [String: String], compression: ArrowCompression = .none)
        throws
    {
        self.table = table
        self.compression = compression
        self.metadata = metadata.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        file = try AtomicFile(path, digests: true)
        pending = ArrowBatchBuilder(table)
        try file.write(ArrowFormat.magic + [0, 0])
        _ = try writeMessage(schemaMessage())
    }

    package mutating func append(_ row: Row) throws {
        pending.append(row)
        rowCount += 1
        if pending.isFull { try writePending() }
    }

    private mutating func writePending() throws {
        let batch = try pending.take(compression)
        try write(batch)
        pending.reuse(batch)
    }

    /// A batch that was made elsewhere; the file is to have the same compression.
    package mutating func append(_ batch: ArrowBatchBytes) throws {
        rowCount += batch.rows
        try write(batch)
    }

    /// Writes what is pending and the footer and makes the file visible.
    @discardableResult
    package mutating func finish() throws -> WrittenFile {
        if pending.rows > 0 || blocks.isEmpty { try write(pending.take(compression)) }
        try file.write([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0])
        let footer = footerTable()
        try file.write(footer)
        try file.write(withUnsafeBytes(of: Int32(footer.count).littleEndian) { Array($0) } + ArrowFormat.magic)
        return try file.finish(rows: rowCount)
    }

    private mutating func write(_ batch: ArrowBatchBytes) throws {
        let start = file.position
        let message = batchMessage(
            rows: batch.rows, nodes: batch.nodes, buffers: batch.buffers, bodyLength: batch.bodyLength)
        let length = try writeMessage(message)
        for buffer in batch.body {
            try file.write(buffer)
            try file.write([UInt8](repeating: 0, count: ArrowFormat.padded(buffer.count) - buffer.count))
        }
        blocks.append([Int64(start), Int64(length), Int64(batch.bodyLength)])
    }

    /// Continuation mark, metadata length (padding included), metadata. Returns what a footer block calls its length.
    private func writeMessage(_ message: [UInt8]) throws -> Int {
        let total = (file.position + 8 + message.count + 63) / 64 * 64 - file.position
        try file.write([0xff, 0xff, 0xff, 0xff] + withUnsafeBytes(of: Int32(total - 8).littleEndian) { Array($0) })
        try file.write(message + [UInt8](repeating: 0, count: total - 8 - message.count))
        return total
    }

    // MARK: FlatBuffers

    private func schemaMessage() -> [UInt8] {
        var builder = FlatBufferBuilder()
        let schema = schema(&builder)
        return message(&builder, ArrowFormat.Header.schema, schema, bodyLength: 0)
    }

    private func message(_ builder: inout FlatBufferBuilder, _ type: UInt8, _ header: Int, bodyLength: Int) -> [UInt8] {
        builder.startTable()
        builder.add(3, Int64(bodyLength))
        builder.addReference(2, header)
        builder.add(0, ArrowFormat.version5)
        builder.add(1, type)
        return builder.finish(builder.endTable())
    }

    private func batchMessage(rows: Int, nodes: [[Int64]], buffers: [[Int64]], bodyLength: Int) -> [UInt8] {
        var builder = FlatBufferBuilder()
        let buffersAt = builder.structs(buffers), nodesAt = builder.structs(nodes)
        let codec = compressionTable(&builder)
        builder.startTable()
        builder.add(0, Int64(rows))
        builder.addReference(1, nodesAt)
        builder.addReference(2, buffersAt)
        if let codec { builder.addReference(3, codec) }
        return message(&builder, ArrowFormat.Header.recordBatch, builder.endTable(), bodyLength: bodyLength)
    }

    private func compressionTable(_ builder: inout FlatBufferBuilder) -> Int? {
        guard compression != .none else { return nil }
        builder.startTable()
        builder.add(0, Int8(1))  // ZSTD
        builder.add(1, Int8(0))  // per buffer
        return builder.endTable()
    }

    private func footerTable() -> [UInt8] {
        var builder = FlatBufferBuilder()
        let schema = schema(&builder)
        // A block is offset, metadata length as int32 with 4 bytes of padding, body length: three words on disk.
        let batches = builder.structs(blocks), dictionaries = builder.structs([])
        builder.startTable()
        builder.addReference(1, schema)
        builder.addReference(2, dictionaries)
        builder.addReference(3, batches)
        builder.add(0, ArrowFormat.version5)
        return builder.finish(builder.endTable())
    }

    private func schema(_ builder: inout FlatBufferBuilder) -> Int {
        let fields = builder.vector(of: table.columns.map { field(&builder, $0.field) })
        let pairs = builder.vector(of: metadata.map { keyValue(&builder, $0.0, $0.1) })
        builder.startTable()
        builder.addReference(1, fields)
        builder.addReference(2, pairs)
        builder.add(0, Int16(0))
        return builder.endTable()
    }

    private func keyValue(_ builder: inout FlatBufferBuilder, _ key: String, _ value: String) -> Int {
        let key = builder.string(key), value = builder.string(value)
        builder.startTable()
        builder.addReference(0, key)
        builder.addReference(1, value)
        return builder.endTable()
    }

    private func field(_ builder: inout FlatBufferBuilder, _ field: ArrowField) -> Int {
        let children = builder.vector(
            of: field.type.children.map { self.field(&builder, ArrowField(name: "item", type: $0, nullable: true)) })
        let name = builder.string(field.name), (typeID, type) = type(&builder, field.type)
        builder.startTable()
        builder.addReference(0, name)
        builder.addReference(3, type)
        builder.addReference(5, children)
        builder.add(1, UInt8(field.nullable ? 1 : 0))
        builder.add(2, typeID)
        return builder.endTable()
    }

    private func type(_ builder: inout FlatBufferBuilder, _ type: ArrowType) -> (UInt8, Int) {
        builder.startTable()
        let id: UInt8
        switch type {
        case .uint16:
            builder.add(0, Int32(16))
            builder.add(1, UInt8(0))
            id = ArrowFormat.TypeID.int
        case .int32, .int64:
            builder.add(0, Int32(type == .int32 ? 32 : 64))
            builder.add(1, UInt8(1))
            id = ArrowFormat.TypeID.int
        case .float32, .float64:
            builder.add(0, Int16(type == .float32 ? 1 : 2))
            id = ArrowFormat.TypeID.floatingPoint
        case .bool: id = ArrowFormat.TypeID.bool
        case .utf8: id = ArrowFormat.TypeID.utf8
        case .list: id = ArrowFormat.TypeID.list
        case .other(let name, _, _): preconditionFailure("no table of ours has a column of type \(name)")
        }
        return (id, builder.endTable())
    }
}
