import Formats
import Foundation

/// What one loop learned, iteration by iteration.
package struct LearningCurve: Sendable {
    package let name: String
    package let rows: [LoopRow]

    package init(name: String, rows: [LoopRow]) { (self.name, self.rows) = (name, rows) }

    /// Loops that went on from one another: iterations count on, and where a later one starts the one before has been
    /// measured already.
    package init(name: String, legs: [[LoopRow]]) {
        let rows = legs.reduce(into: [LoopRow]()) { rows, leg in
            guard let last = rows.last?.iteration else { return rows = leg }
            rows += leg.filter { $0.iteration > 0 }.map { row in
                var row = row
                row.iteration += last
                return row
            }
        }
        self.init(name: name, rows: rows)
    }

    /// The first and the last held-out accuracy.
    package var before: Double? { rows.first?.heldoutAccuracy }
    package var after: Double? { rows.last { $0.heldoutAccuracy != nil }?.heldoutAccuracy }

    /// The same at temperature 0, where that was measured.
    package var greedyBefore: Double? { rows.first?.heldoutGreedyAccuracy }
    package var greedyAfter: Double? { rows.last { $0.heldoutGreedyAccuracy != nil }?.heldoutGreedyAccuracy }
}

/// A quantity that curves are drawn of.
package struct CurveQuantity: Sendable {
    package let title: String
    package let value: @Sendable (LoopRow) -> Double?

    package static let all = [
        CurveQuantity(title: "held-out accuracy") { $0.heldoutAccuracy },
        CurveQuantity(title: "held-out accuracy, greedy") { $0.heldoutGreedyAccuracy },
        CurveQuantity(title: "entropy of sampled tokens (nats)") { $0.entropy ?? $0.heldoutEntropy },
        CurveQuantity(title: "completion length (tokens)") { $0.completionLength ?? $0.heldoutLength },
        CurveQuantity(title: "mean reward of the rollouts") { $0.rewardMean },
    ]
}

package enum CurvePicture {
    /// Curves of the same name — seeds of a recipe — become one line, their mean, with a band of one standard
    /// deviation.
    package static func svg(title: String, _ curves: [LearningCurve]) -> String {
        let panels = CurveQuantity.all.map { quantity in
            ChartPanel(title: quantity.title, lines: lines(of: quantity, curves))
        }
        // A panel of which nothing is known would be an empty frame.
        let known = panels.filter { !$0.lines.isEmpty }
        return LineChart.svg(title: title, xLabel: "iteration", panels: known.isEmpty ? panels : known)
    }

    /// A line for each name, in the order of the curves; none for names of which nothing is known.
    package static func lines(of quantity: CurveQuantity, _ curves: [LearningCurve]) -> [ChartLine] {
        names(curves).map { name in line(name, curves.filter { $0.name == name }, quantity) }
            .filter { !$0.points.isEmpty }
    }

    package static func names(_ curves: [LearningCurve]) -> [String] {
        curves.reduce(into: []) { if !$0.contains($1.name) { $0.append($1.name) } }
    }

    private static func line(_ name: String, _ curves: [LearningCurve], _ quantity: CurveQuantity) -> ChartLine {
        let iterations = Set(curves.flatMap { $0.rows.map(\.iteration) }).sorted()
        let found = iterations.compactMap { iteration -> (x: Double, statistics: Statistics)? in
            let values = curves.compactMap { curve in
                curve.rows.first { $0.iteration == iteration }.flatMap(quantity.value)
            }
            return Statistics(values).map { (Double(iteration), $0) }
        }
        return ChartLine(
            name: name, points: found.map { ($0.x, $0.statistics.mean) },
            spread: curves.count > 1 ? found.map { $0.statistics.deviation ?? 0 } : [])
    }
}

/// Mean and standard deviation (Bessel).
package struct Statistics: Equatable, Sendable {
    package let mean: Double
    /// nil for one value: it says nothing about how far others would lie.
    package let deviation: Double?
    package let low: Double
    package let high: Double

    /// nil for no values.
    package init?(_ values: [Double]) {
        guard let low = values.min(), let high = values.max() else { return nil }
        let mean = values.reduce(0, +) / Double(values.count)
        self.mean = mean
        deviation =
            values.count < 2
            ? nil : (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count - 1)).squareRoot()
        (self.low, self.high) = (low, high)
    }
}

package enum CurveTable {
    /// One line per name: held-out accuracy before and after over the seeds, entropy, length and tokens at the end.
    /// Accuracy at temperature 0 has columns where it was measured. What nobody has measured or judged is a dash, and
    /// one seed has no deviation.
    package static func markdown(_ curves: [LearningCurve]) -> String {
        let isGreedyKnown = curves.contains { $0.greedyBefore != nil || $0.greedyAfter != nil }
        let columns =
            ["recipe", "seeds", "before", "after: mean ± std", "lowest … highest"]
            + (isGreedyKnown ? ["greedy: before", "greedy: after"] : [])
            + ["entropy at the end (nats)", "tokens per completion", "sampled tokens per iteration", "iterations"]
        let names = CurvePicture.names(curves).sorted { mean($0, curves) > mean($1, curves) }
        let lines = names.map { name in cells(name, curves.filter { $0.name == name }, isGreedyKnown) }
        return line(columns) + "|" + columns.map { _ in "---|" }.joined() + "\n" + lines.map(line).joined()
    }

    private static func line(_ cells: [String]) -> String { "| " + cells.joined(separator: " | ") + " |\n" }

    private static func mean(_ name: String, _ curves: [LearningCurve]) -> Double {
        Statistics(curves.filter { $0.name == name }.compactMap(\.after))?.mean ?? -1
    }

    private static let unknown = "–"

    private static func cells(_ name: String, _ curves: [LearningCurve], _ isGreedyKnown: Bool) -> [String] {
        func share(_ value: Double) -> String { String(format: "%.1f %%", 100 * value) }
        func last(_ format: String, _ value: (LoopRow) -> Double?) -> String {
            Statistics(curves.compactMap { $0.rows.last { value($0) != nil }.flatMap(value) }).map {
                String(format: format, $0.mean)
            } ?? unknown
        }
        let before = Statistics(curves.compactMap(\.before)), after = Statistics(curves.compactMap(\.after))
        let tokens = Statistics(curves.flatMap { $0.rows.dropFirst() }.map { Double($0.sampledTokens) })
        let greedy = [curves.compactMap(\.greedyBefore), curves.compactMap(\.greedyAfter)].map { values in
            Statistics(values).map { share($0.mean) } ?? unknown
        }
        let accuracy = [
            name, "\(curves.count)", before.map { share($0.mean) } ?? unknown,
            after.map { "**\(share($0.mean))**" + ($0.deviation.map { " ± " + share($0) } ?? "") } ?? unknown,
            after.map { "\(share($0.low)) … \(share($0.high))" } ?? unknown,
        ]
        let ends = [
            last("%.3f") { $0.heldoutEntropy }, last("%.1f") { $0.heldoutLength },
            tokens.map { "\(Int($0.mean))" } ?? unknown, "\(curves.map { $0.rows.count - 1 }.max() ?? 0)",
        ]
        return accuracy + (isGreedyKnown ? greedy : []) + ends
    }

    /// Every row of a curve, for a spreadsheet. Accuracy at temperature 0 has a column where it was measured.
    package static func csv(_ rows: [LoopRow]) -> String {
        func text(_ value: Double?) -> String { value.map { String(format: "%.6f", $0) } ?? "" }
        let isGreedyKnown = rows.contains { $0.heldoutGreedyAccuracy != nil }
        let header =
            "iteration,prompts,rollouts,sampled_tokens,optimizer_steps,train_accuracy,reward_mean,entropy,completion_length,grad_norm,"
            + "heldout_accuracy,heldout_entropy,heldout_length" + (isGreedyKnown ? ",heldout_greedy_accuracy\n" : "\n")
        return rows.reduce(into: header) { csv, row in
            let counts = [Int64(row.iteration), row.prompts, row.rollouts, row.sampledTokens, row.optimizerSteps].map {
                "\($0)"
            }
            let figures =
                [
                    row.trainAccuracy, row.rewardMean, row.entropy, row.completionLength, row.gradNorm,
                    row.heldoutAccuracy, row.heldoutEntropy, row.heldoutLength,
                ].map(text) + (isGreedyKnown ? [text(row.heldoutGreedyAccuracy)] : [])
            csv += (counts + figures).joined(separator: ",") + "\n"
        }
    }
}
