/// One column of a table: its name and type, what stands in it, and how it moves between a row and the file.
package struct Column<Row>: Sendable {
    package let name: String
    package let type: ArrowType
    package let nullable: Bool
    /// What the values are, their unit, and what null means.
    package let documentation: String
    let write: @Sendable (Row, inout ColumnBuilder) -> Void
    let read: @Sendable (inout Row, ColumnData, Int) -> Void

    @usableFromInline
    package init(
        name: String, type: ArrowType, nullable: Bool, documentation: String,
        write: @escaping @Sendable (Row, inout ColumnBuilder) -> Void,
        read: @escaping @Sendable (inout Row, ColumnData, Int) -> Void
    ) {
        (self.name, self.type, self.nullable, self.documentation) = (name, type, nullable, documentation)
        (self.write, self.read) = (write, read)
    }

    var field: ArrowField { ArrowField(name: name, type: type, nullable: nullable) }
}

/// What a row has in a column of numbers; null also in a column of anything else.
package enum CellNumber: Equatable, Sendable {
    case integer(Int64)
    case real(Double)
    case null
}

extension Column {
    package func number(of row: Row) -> CellNumber {
        var builder = ColumnBuilder()
        write(row, &builder)
        return builder.number(type)
    }
}

/// Key paths of stored properties carry nothing that threads could fight over.
package typealias Path<Row, Value> = WritableKeyPath<Row, Value> & Sendable

/// Inlined where a table is written down, so that a key path there becomes an access to its property.
extension Column {
    @inlinable @inline(__always)
    package static func make<V>(
        _ name: String, _ type: ArrowType, _ path: any Path<Row, V>, _ documentation: String,
        _ append: @escaping @Sendable (inout ColumnBuilder, V) -> Void,
        _ value: @escaping @Sendable (ColumnData, Int) -> V?
    ) -> Column {
        Column(
            name: name, type: type, nullable: false, documentation: documentation,
            write: { append(&$1, $0[keyPath: path]) },
            read: { row, data, index in if let value = value(data, index) { row[keyPath: path] = value } })
    }

    @inlinable @inline(__always)
    package static func optional<V>(
        _ name: String, _ type: ArrowType, _ path: any Path<Row, V?>, _ documentation: String,
        _ append: @escaping @Sendable (inout ColumnBuilder, V?) -> Void,
        _ value: @escaping @Sendable (ColumnData, Int) -> V?
    ) -> Column {
        Column(
            name: name, type: type, nullable: true, documentation: documentation,
            write: { append(&$1, $0[keyPath: path]) }, read: { $0[keyPath: path] = value($1, $2) })
    }

    @inlinable @inline(__always)
    package static func utf8(_ name: String, _ path: any Path<Row, String>, _ documentation: String) -> Column {
        make(name, .utf8, path, documentation, { $0.append($1) }, { $0.string($1) })
    }
    @inlinable @inline(__always)
    package static func utf8(_ name: String, _ path: any Path<Row, String?>, _ documentation: String) -> Column {
        optional(name, .utf8, path, documentation, { $0.append($1) }, { $0.string($1) })
    }
    @inlinable @inline(__always)
    package static func bool(_ name: String, _ path: any Path<Row, Bool?>, _ documentation: String) -> Column {
        optional(name, .bool, path, documentation, { $0.append($1) }, { $0.bool($1) })
    }
    @inlinable @inline(__always)
    package static func int32(_ name: String, _ path: any Path<Row, Int32>, _ documentation: String) -> Column {
        make(name, .int32, path, documentation, { $0.append($1) }, { $0.int32($1) })
    }
    @inlinable @inline(__always)
    package static func int32(_ name: String, _ path: any Path<Row, Int32?>, _ documentation: String) -> Column {
        optional(name, .int32, path, documentation, { $0.append($1) }, { $0.int32($1) })
    }
    @inlinable @inline(__always)
    package static func int64(_ name: String, _ path: any Path<Row, Int64>, _ documentation: String) -> Column {
        make(name, .int64, path, documentation, { $0.append($1) }, { $0.int64($1) })
    }
    @inlinable @inline(__always)
    package static func int64(_ name: String, _ path: any Path<Row, Int64?>, _ documentation: String) -> Column {
        optional(name, .int64, path, documentation, { $0.append($1) }, { $0.int64($1) })
    }
    @inlinable @inline(__always)
    package static func float32(_ name: String, _ path: any Path<Row, Float>, _ documentation: String) -> Column {
        make(name, .float32, path, documentation, { $0.append($1) }, { $0.float32($1) })
    }
    @inlinable @inline(__always)
    package static func float32(_ name: String, _ path: any Path<Row, Float?>, _ documentation: String) -> Column {
        optional(name, .float32, path, documentation, { $0.append($1) }, { $0.float32($1) })
    }
    @inlinable @inline(__always)
    package static func float64(_ name: String, _ path: any Path<Row, Double>, _ documentation: String) -> Column {
        make(name, .float64, path, documentation, { $0.append($1) }, { $0.float64($1) })
    }
    @inlinable @inline(__always)
    package static func float64(_ name: String, _ path: any Path<Row, Double?>, _ documentation: String) -> Column {
        optional(name, .float64, path, documentation, { $0.append($1) }, { $0.float64($1) })
    }
    @inlinable @inline(__always)
    package static func listUInt16(_ name: String, _ path: any Path<Row, [UInt16]?>, _ documentation: String) -> Column
    {
        optional(name, .list(.uint16), path, documentation, { $0.append(list: $1) }, { $0.uint16s($1) })
    }
    @inlinable @inline(__always)
    package static func listInt32(_ name: String, _ path: any Path<Row, [Int32]>, _ documentation: String) -> Column {
        make(name, .list(.int32), path, documentation, { $0.append(list: $1) }, { $0.int32s($1) })
    }
    @inlinable @inline(__always)
    package static func listInt32(_ name: String, _ path: any Path<Row, [Int32]?>, _ documentation: String) -> Column {
        optional(name, .list(.int32), path, documentation, { $0.append(list: $1) }, { $0.int32s($1) })
    }
    @inlinable @inline(__always)
    package static func listBool(_ name: String, _ path: any Path<Row, [Bool]>, _ documentation: String) -> Column {
        make(name, .list(.bool), path, documentation, { $0.append(bits: $1) }, { $0.bools($1) })
    }
    @inlinable @inline(__always)
    package static func listFloat32(_ name: String, _ path: any Path<Row, [Float]>, _ documentation: String) -> Column {
        make(name, .list(.float32), path, documentation, { $0.append(list: $1) }, { $0.float32s($1) })
    }
    @inlinable @inline(__always)
    package static func listFloat32(_ name: String, _ path: any Path<Row, [Float]?>, _ documentation: String)
        -> Column
    {
        optional(name, .list(.float32), path, documentation, { $0.append(list: $1) }, { $0.float32s($1) })
    }
}
