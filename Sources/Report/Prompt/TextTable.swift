import Formats
import Foundation
import RunViews
import StageSupport

/// A table for people (aligned columns, or Markdown) and for spreadsheets (CSV).
struct TextTable {
    enum Cell {
        case text(String)
        case count(Int)
        /// nil: nobody knows it.
        case number(Double?)
    }

    let columns: [String]
    private(set) var rows: [[Cell]] = []

    init(_ columns: [String]) { self.columns = columns }

    mutating func add(_ row: [Cell]) { rows.append(row) }

    /// The first rows alone.
    func prefix(_ count: Int) -> TextTable {
        var table = TextTable(columns)
        table.rows = Array(rows.prefix(count))
        return table
    }

    /// Columns of equal width, numbers to the right.
    var aligned: String {
        let cells = [columns] + rows.map { $0.map { Self.short($0, unknown: "–") } }
        let widths = columns.indices.map { column in cells.map { $0[column].count }.max() ?? 0 }
        return cells.enumerated().map { index, row in
            let padded = row.indices.map { column in
                let space = String(repeating: " ", count: widths[column] - row[column].count)
                return isNumber(column, index) ? space + row[column] : row[column] + space
            }
            return Self.trimmed(padded.joined(separator: "  ")) + "\n"
        }.joined()
    }

    private static func trimmed(_ line: String) -> String {
        String(line.reversed().drop { $0 == " " }.reversed())
    }

    /// Whether a column's cell is a number; a heading goes with its column.
    private func isNumber(_ column: Int, _ line: Int) -> Bool {
        guard let cell = rows.first?[column] else { return false }
        if case .text = cell { return false } else { return true }
    }

    var markdown: String {
        let cells = rows.map { $0.map { Self.short($0, unknown: "–").replacingOccurrences(of: "|", with: "\\|") } }
        return ([columns, columns.map { _ in "---" }] + cells).map { "| " + $0.joined(separator: " | ") + " |\n" }
            .joined()
    }

    var csv: String {
        let cells = rows.map { $0.map { Self.exact($0) } }
        return ([columns] + cells).map { $0.map(Self.quoted).joined(separator: ",") + "\n" }.joined()
    }

    /// The files `OUTPUT.md` and `OUTPUT.csv`.
    func files(_ output: String) -> [ReportFile] {
        zip(Self.suffixes, [markdown, csv]).map { ReportFile(path: output + $0, text: $1) }
    }

    static let suffixes = [".md", ".csv"]

    private static func short(_ cell: Cell, unknown: String) -> String {
        switch cell {
        case .text(let text): TokenText.oneLine(TokenText.visible(text))
        case .count(let count): "\(count)"
        case .number(let value): value.map { String(format: "%.4g", $0) } ?? unknown
        }
    }

    private static func exact(_ cell: Cell) -> String {
        switch cell {
        case .text(let text): text
        case .count(let count): "\(count)"
        case .number(let value): value.map { "\($0)" } ?? ""
        }
    }

    private static func quoted(_ cell: String) -> String {
        guard cell.contains(where: { ",\"\n\r".contains($0) }) else { return cell }
        return "\"" + cell.replacingOccurrences(of: "\"", with: "\"\"") + "\""
    }
}

/// Four digits.
func short(_ value: Double) -> String { String(format: "%.4g", value) }
func short(_ value: Float) -> String { short(Double(value)) }

/// A name or a text from a dump as a terminal may have it: in one line, without anything that steers.
func shown(_ text: String) -> String { TokenText.oneLine(TokenText.visible(text)) }
