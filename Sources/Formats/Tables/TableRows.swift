import Arrow
import Scratch

/// Rows of a table, read one at a time by any thread.
package struct TableRows<Row: Sendable>: Sendable {
    package let reader: ArrowTableReader<Row>
    private let cursors = IdlePool<ArrowRowCursor<Row>>()

    package init(_ reader: ArrowTableReader<Row>) { self.reader = reader }

    package func row(_ number: Int) throws -> Row {
        let cursor = cursors.take { $0.holds(number) } ?? reader.cursor()
        defer { cursors.give(cursor) }
        return try cursor.row(number)
    }
}
