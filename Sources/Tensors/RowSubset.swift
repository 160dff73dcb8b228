/// Some of the rows of [T, ·] matrices, in their order, or all of them. What is computed for the chosen rows alone lies
/// in compact matrices, [S, ·]; where all rows are chosen the two are the same, and nothing is copied.
package struct RowSubset: Sendable {
    /// S
    package let count: Int
    /// T
    private let total: Int
    /// Ascending; nil where all are chosen.
    private let rows: [Int]?

    package init(allOf total: Int) { (count, self.total, rows) = (total, total, nil) }

    /// `rows`: ascending, of 0..<total.
    package init(_ rows: [Int], of total: Int) {
        (count, self.total) = (rows.count, total)
        self.rows = rows.count == total ? nil : rows
    }

    /// The chosen row at a place among them.
    package subscript(place: Int) -> Int { rows?[place] ?? place }

    package var isAll: Bool { rows == nil }

    /// Per row, its place among the chosen ones; what is not chosen has an undefined one.
    package var places: [Int] {
        guard let rows else { return Array(0..<total) }
        var places = [Int](repeating: 0, count: total)
        for (place, row) in rows.enumerated() { places[row] = place }
        return places
    }

    /// The chosen rows of x [T, ·], copied to `compact` [S, ·] unless they are all.
    package func gather(_ x: Matrix, into compact: Matrix) -> Matrix {
        guard let rows else { return x }
        x.check(total, x.columns, "what rows are chosen of")
        compact.check(count, x.columns, "the chosen rows")
        for (place, row) in rows.enumerated() { compact.row(place).update(from: x.row(row), count: x.columns) }
        return compact
    }

    /// The way back: x [T, ·] = `compact` at the chosen rows and 0 elsewhere. Where all are chosen, `compact` is x
    /// already.
    package func scatter(_ compact: Matrix, into x: Matrix) {
        guard let rows else { return }
        x.check(total, x.columns, "what rows are chosen of")
        compact.check(count, x.columns, "the chosen rows")
        for row in 0..<total { x.row(row).update(repeating: 0, count: x.columns) }
        for (place, row) in rows.enumerated() { x.row(row).update(from: compact.row(place), count: x.columns) }
    }
}
