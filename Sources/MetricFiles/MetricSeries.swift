import Arrow

/// The rows of a table of metrics, number by number.
package struct MetricSeries: Sendable {
    /// One row.
    package struct Step: Sendable {
        /// What the row is counted by: its first column.
        package let number: Int64
        /// Seconds from the beginning of the series to the end of the step.
        package let time: Double
        /// By column.
        package let values: [CellNumber]
    }

    /// Of the columns, in the table's order.
    package let names: [String]
    package let steps: [Step]
    /// What the names are grouped under where many runs are shown together.
    package let group: String

    /// - Parameters:
    ///   - seconds: How long a row took. Times are its running total: no clock is asked, so that one table gives the
    ///     same bytes whenever it is written.
    package init<Row>(_ table: Table<Row>, _ rows: [Row], group: String, seconds: (Row) -> Double) {
        names = table.columns.map(\.name)
        self.group = group
        var time = 0.0
        steps = rows.map { row in
            let values = table.columns.map { $0.number(of: row) }
            time += seconds(row)
            guard case .integer(let number) = values.first else {
                preconditionFailure("the first column of \(table.name) counts its rows")
            }
            return Step(number: number, time: time, values: values)
        }
    }

    /// Values that JSON has no number for: NaN and infinities.
    package var notFinite: Int { steps.reduce(0) { $0 + $1.values.count { !$0.isFinite } } }
}

extension CellNumber {
    fileprivate var isFinite: Bool {
        guard case .real(let value) = self else { return true }
        return value.isFinite
    }
}
