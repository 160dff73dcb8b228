import Catalog
import Foundation

/// Runs as a table for people, and as JSON.
struct RunTable {
    private let runs: [ListedRun]
    private let columns: [String]

    init(_ runs: [ListedRun], columns: [String]) { (self.runs, self.columns) = (runs, columns) }

    /// Whether a table has it anyway.
    static func shows(_ name: FilterName) -> Bool {
        name.reduction == nil && ["id", "path", "stage", "state", "recipe", "started", "seconds"].contains(name.text)
    }

    var text: String {
        guard !runs.isEmpty else { return "" }
        let head = ["id", "started", "stage", "state", "seconds", "recipe"] + columns + ["path"]
        return AlignedText.of([head] + runs.map(row))
    }

    private func row(_ run: ListedRun) -> [String] {
        let started = run.started.map { $0.prefix(16).replacingOccurrences(of: "T", with: " ") } ?? "–"
        return ["\(run.id)", started, run.stage, run.state, run.seconds.map { String(format: "%.1f", $0) } ?? "–"]
            + [run.recipe ?? "–"] + run.values.map(\.shown) + [shortPath(run.path)]
    }

    var json: [any Sendable] { runs.map(json) }

    private func json(_ run: ListedRun) -> [String: any Sendable] {
        var fields: [String: any Sendable] = [
            "id": Int(run.id), "path": run.path, "stage": run.stage, "state": run.state,
        ]
        fields["recipe"] = run.recipe
        fields["host"] = run.host
        fields["started"] = run.started
        fields["ended"] = run.ended
        fields["seconds"] = run.seconds
        if !columns.isEmpty {
            fields["values"] = Dictionary(zip(columns, run.values.map(\.json))) { first, _ in first }
        }
        return fields
    }
}

/// Rows of texts, each column as wide as its widest; what could steer a terminal is shown as a question mark.
enum AlignedText {
    static func of(_ rows: [[String]]) -> String {
        let rows = rows.map { $0.map(visible) }
        let widths = (rows.first ?? []).indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { row in
            let cells = zip(row, widths).map { $0 + String(repeating: " ", count: $1 - $0.count) }
            return String(cells.joined(separator: "  ").reversed().drop { $0 == " " }.reversed()) + "\n"
        }.joined()
    }

    /// Names of files and hosts may hold anything.
    static func visible(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.map { scalar in
                    let category = scalar.properties.generalCategory
                    return [.control, .format, .lineSeparator, .paragraphSeparator].contains(category) ? "?" : scalar
                }))
    }
}
