import Foundation
import LearningCurves

/// A sweep's plans side by side, as texts and as a picture. The same plans give the same bytes.
struct SweepTable: Sendable {
    let keys: [SweptKey]
    let plans: [SweptPlan]
    /// By plan, by column.
    let numbers: [[Double?]]

    init(_ keys: [SweptKey], _ plans: [SweptPlan]) {
        (self.keys, self.plans) = (keys, plans)
        numbers = plans.map { plan in SweepColumn.all.map { $0.value(plan, plans[0]) } }
    }

    private var names: [String] { keys.map(\.key) + SweepColumn.all.map(\.name) + ["refusal"] }

    private func rows(_ number: (Double) -> String, unknown: String) -> [[String]] {
        zip(plans, numbers).map { plan, numbers in
            plan.values + numbers.map { $0.map(number) ?? unknown } + [plan.refusal ?? ""]
        }
    }

    // MARK: texts

    /// For people: four digits, and a dash for what nobody knows.
    var markdown: String {
        func line(_ cells: [String]) -> String {
            "| " + cells.map { $0.replacingOccurrences(of: "|", with: "\\|") }.joined(separator: " | ") + " |\n"
        }
        return line(names) + "|" + names.map { _ in "---|" }.joined() + "\n"
            + rows(Self.short, unknown: "–").map(line).joined()
    }

    /// For spreadsheets: all digits, and nothing for what nobody knows.
    var csv: String {
        ([names] + rows(Self.exact, unknown: "")).map { $0.map(Self.quoted).joined(separator: ",") + "\n" }.joined()
    }

    private static func quoted(_ cell: String) -> String {
        guard cell.contains(where: { ",\"\n\r".contains($0) }) else { return cell }
        return "\"" + cell.replacingOccurrences(of: "\"", with: "\"\"") + "\""
    }

    private static func exact(_ value: Double) -> String { whole(value) ?? "\(value)" }
    private static func short(_ value: Double) -> String { whole(value) ?? String(format: "%.4g", value) }

    private static func whole(_ value: Double) -> String? {
        Int64(exactly: value).map { "\($0)" }
    }

    /// For machines.
    var summary: [[String: any Sendable]] {
        zip(plans, numbers).map { plan, numbers in
            var object: [String: any Sendable] = [:]
            for (key, value) in zip(keys, plan.values) { object[key.key] = value }
            for (column, value) in zip(SweepColumn.all, numbers) { object[column.name] = value ?? NSNull() }
            object["refusal"] = plan.refusal ?? NSNull()
            return object
        }
    }

    /// A line of the report for each plan.
    var lines: [String] {
        plans.map { plan in
            let threshold = plan.thresholds.min().map { ", threshold \(Self.short($0))" } ?? "",
                overlap = plan.kept.overlap(with: plans[0].kept).map(Self.short) ?? "unknown"
            return "\(name(plan)): \(plan.counts["kept"] ?? 0) rollouts kept, \(plan.counts["kept_tokens"] ?? 0) of "
                + "\(plan.counts["trainable_tokens"] ?? 0) tokens\(threshold), overlap with the first \(overlap)"
        }
    }

    /// A setting as `--set` would take it.
    func name(_ plan: SweptPlan) -> String { named(zip(keys, plan.values)) }

    private func named(_ values: some Sequence<(SweptKey, String)>) -> String {
        values.map { "\($0.key)=\($1)" }.joined(separator: " ")
    }

    // MARK: picture

    /// A panel for each figure that is known, over the first key's values; a line for each setting of the others.
    func svg(title: String) -> String {
        let panels = SweepColumn.all.indices.filter { SweepColumn.all[$0].isDrawn }.map { column in
            ChartPanel(title: SweepColumn.all[column].name, lines: chartLines(column))
        }
        return LineChart.svg(
            title: title, xLabel: keys[0].key + (places == nil ? " (number of the value)" : ""),
            panels: panels.filter { !$0.lines.isEmpty })
    }

    /// The first key's values as numbers; nil where they aren't.
    private var places: [Double]? {
        let numbers = keys[0].values.compactMap { Double($0) }
        return numbers.count == keys[0].values.count ? numbers : nil
    }

    private func chartLines(_ column: Int) -> [ChartLine] {
        // The first key changes slowest: settings of the others follow one another within each of its values.
        let others = plans.count / keys[0].values.count
        let lines = (0..<others).map { other in
            let points = keys[0].values.indices.compactMap { value -> (x: Double, y: Double)? in
                numbers[value * others + other][column].map { (places?[value] ?? Double(value + 1), $0) }
            }
            let name = keys.count == 1 ? keys[0].key : named(zip(keys, plans[other].values).dropFirst())
            return ChartLine(name: name, points: points.sorted { $0.x < $1.x })
        }
        return lines.filter { !$0.points.isEmpty }
    }
}
