import Arrow
import Formats

/// Bytes as a table between stages, each kind of them; the first byte says which.
final class ArrowFuzz: FuzzTarget {
    static let name = "arrow", subject = "a table of a stage; the first byte chooses its kind"
    private let path: String
    private typealias Reading = @Sendable (String) throws -> Void

    init(folder: String) { path = folder + "/fuzz.arrow" }

    private static let readings: [Reading] = [
        reading(Tables.rollouts), reading(Tables.rejected), reading(Tables.measures), reading(Tables.scores),
        reading(Tables.plan), reading(Tables.dropped), reading(Tables.jobs), reading(Tables.bases),
        reading(Tables.metrics), reading(Tables.loop),
    ]

    /// Both ways that tables are read: row by row, and columns of many rows.
    private static func reading<Row>(_ table: Table<Row>) -> Reading {
        let types = table.columns.map(\.type), views = table.columns.map { ArrowColumnView.values($0.name) }
        return { path in
            let reader = try ArrowTableReader(path: path, table: table)
            try reader.forEachRow { _ in }
            let cursor = ArrowColumnCursor(reader, views)
            for row in 0..<reader.rowCount {
                let view = try cursor.row(row)
                for (column, type) in types.enumerated() { look(view, column, type) }
            }
        }
    }

    /// Touches what a column of this type holds for a row.
    private static func look(_ row: ArrowRowView, _ column: Int, _ type: ArrowType) {
        switch type {
        case .utf8: _ = row.text(column)
        case .bool: _ = row.bool(column)
        case .float32: _ = row.float32(column)
        case .list(.bool): _ = row.list(column)?.trueCount
        default: _ = row.isPresent(column)
        }
    }

    func run(_ bytes: UnsafeRawBufferPointer) throws {
        let (kind, file) = bytes.choice
        try file.write(to: path)
        try Self.readings[kind % Self.readings.count](path)
    }
}
