import Arrow
import Files

/// JSON lines: an object for each step, its keys in the order of the table's columns.
enum MetricLines {
    static func write(_ series: MetricSeries, to file: AtomicFile) throws {
        for step in series.steps { try file.write(line(series.names, step.values)) }
    }

    private static func line(_ names: [String], _ values: [CellNumber]) -> String {
        "{" + zip(names, values).map { "\"\($0)\": \(text($1))" }.joined(separator: ", ") + "}\n"
    }

    /// Swift's shortest text that reads back as the same number is a number of JSON too, but for NaN and infinities.
    private static func text(_ value: CellNumber) -> String {
        switch value {
        case .integer(let value): "\(value)"
        case .real(let value): value.isFinite ? "\(value)" : "null"
        case .null: "null"
        }
    }
}
