import Foundation

/// A line of a chart: a name and points, gaps left out.
package struct ChartLine: Sendable {
    package let name: String
    package let points: [(x: Double, y: Double)]
    /// Half the height of the band around the line, by point; empty for none.
    package let spread: [Double]

    package init(name: String, points: [(x: Double, y: Double)], spread: [Double] = []) {
        (self.name, self.points, self.spread) = (name, points, spread)
    }
}

package struct ChartPanel: Sendable {
    package let title: String
    package let lines: [ChartLine]

    package init(title: String, lines: [ChartLine]) { (self.title, self.lines) = (title, lines) }
}

/// Panels of line charts as SVG: two in a row, one legend. The same input gives the same bytes.
package enum LineChart {
    private static let width = 480.0, height = 300.0, left = 52.0, right = 14.0, top = 30.0, bottom = 36.0

    /// Distinct on white, also for most colour-blind eyes; then dashed.
    private static let colors = [
        "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c510a", "#7f7f7f", "#6a3d9a",
    ]

    package static func svg(title: String, xLabel: String, panels: [ChartPanel]) -> String {
        let names = panels.flatMap { $0.lines.map(\.name) }.reduce(into: [String]()) {
            if !$0.contains($1) { $0.append($1) }
        }
        let rows = (panels.count + 1) / 2, legendRows = (names.count + 3) / 4
        let total = 34 + Double(rows) * height + Double(legendRows) * 18 + 12
        var svg = """
            <svg xmlns="http://www.w3.org/2000/svg" width="\(text(2 * width))" height="\(text(total))" font-family="sans-serif" font-size="11">
            <rect width="100%" height="100%" fill="white"/>
            <text x="\(text(width))" y="20" text-anchor="middle" font-size="15">\(escape(title))</text>\n
            """
        for (index, panel) in panels.enumerated() {
            let x = Double(index % 2) * width, y = 30 + Double(index / 2) * height
            svg += "<g transform=\"translate(\(text(x)),\(text(y)))\">\n" + draw(panel, xLabel, names) + "</g>\n"
        }
        for (index, name) in names.enumerated() {
            let x = 40 + Double(index % 4) * (2 * width - 60) / 4,
                y = 30 + Double(rows) * height + 12 + Double(index / 4) * 18
            svg +=
                "<line x1=\"\(text(x))\" y1=\"\(text(y))\" x2=\"\(text(x + 24))\" y2=\"\(text(y))\" \(stroke(index))/>"
            svg += "<text x=\"\(text(x + 30))\" y=\"\(text(y + 4))\">\(escape(name))</text>\n"
        }
        return svg + "</svg>\n"
    }

    private static func stroke(_ index: Int) -> String {
        "stroke=\"\(colors[index % colors.count])\" stroke-width=\"1.8\" fill=\"none\""
            + (index >= colors.count ? " stroke-dasharray=\"5 3\"" : "")
    }

    private struct Frame {
        let x: ClosedRange<Double>
        let y: ClosedRange<Double>

        init(_ lines: [ChartLine]) {
            let points = lines.flatMap(\.points)
            func range(_ values: [Double]) -> ClosedRange<Double> {
                let low = values.min() ?? 0, high = values.max() ?? 1
                return high > low ? low...high : low - 0.5...high + 0.5
            }
            x = range(points.map(\.x))
            let tight = range(points.map(\.y)), margin = 0.06 * (tight.upperBound - tight.lowerBound)
            y = tight.lowerBound - margin...tight.upperBound + margin
        }

        func place(_ point: (x: Double, y: Double)) -> (Double, Double) {
            let u = (point.x - x.lowerBound) / (x.upperBound - x.lowerBound),
                v = (point.y - y.lowerBound) / (y.upperBound - y.lowerBound)
            return (left + u * (width - left - right), height - bottom - v * (height - top - bottom))
        }
    }

    private static func draw(_ panel: ChartPanel, _ xLabel: String, _ names: [String]) -> String {
        let frame = Frame(panel.lines)
        var svg =
            "<text x=\"\(text(width / 2))\" y=\"20\" text-anchor=\"middle\" font-size=\"13\">\(escape(panel.title))</text>\n"
        for tick in ticks(frame.y) {
            let y = frame.place((frame.x.lowerBound, tick)).1
            svg +=
                "<line x1=\"\(text(left))\" y1=\"\(text(y))\" x2=\"\(text(width - right))\" y2=\"\(text(y))\" stroke=\"#e4e4e4\"/>"
            svg += "<text x=\"\(text(left - 5))\" y=\"\(text(y + 4))\" text-anchor=\"end\">\(number(tick))</text>\n"
        }
        for tick in ticks(frame.x) {
            let x = frame.place((tick, frame.y.lowerBound)).0
            svg +=
                "<text x=\"\(text(x))\" y=\"\(text(height - bottom + 15))\" text-anchor=\"middle\">\(number(tick))</text>\n"
        }
        svg +=
            "<text x=\"\(text(width / 2))\" y=\"\(text(height - 6))\" text-anchor=\"middle\" fill=\"#555\">\(escape(xLabel))</text>\n"
        for line in panel.lines { svg += draw(line, frame, names.firstIndex(of: line.name) ?? 0) }
        return svg
    }

    private static func draw(_ line: ChartLine, _ frame: Frame, _ index: Int) -> String {
        func path(_ points: [(x: Double, y: Double)]) -> String {
            points.map { frame.place($0) }.map { "\(text($0.0)),\(text($0.1))" }.joined(separator: " ")
        }
        var svg = ""
        if line.spread.contains(where: { $0 > 0 }) {
            let pairs = zip(line.points, line.spread)
            let edge = pairs.map { (x: $0.x, y: $0.y + $1) } + pairs.reversed().map { (x: $0.x, y: $0.y - $1) }
            svg += "<polygon points=\"\(path(edge))\" fill=\"\(colors[index % colors.count])\" opacity=\"0.12\"/>\n"
        }
        return svg + "<polyline points=\"\(path(line.points))\" \(stroke(index))/>\n"
    }

    /// Four to eight round numbers within the range.
    static func ticks(_ range: ClosedRange<Double>) -> [Double] {
        let span = range.upperBound - range.lowerBound, power = pow(10, (log10(span / 4)).rounded(.down))
        let step = [1.0, 2, 5, 10].map { $0 * power }.last { span / $0 >= 3.5 } ?? power
        let first = Int((range.lowerBound / step).rounded(.up)), last = Int((range.upperBound / step).rounded(.down))
        return first > last ? [] : (first...last).map { Double($0) * step }
    }

    private static func number(_ value: Double) -> String { String(format: "%.4g", abs(value) < 1e-12 ? 0 : value) }
    private static func text(_ value: Double) -> String { String(format: "%.1f", value) }
    private static func escape(_ text: String) -> String {
        text.replacingOccurrences(of: "&", with: "&amp;").replacingOccurrences(of: "<", with: "&lt;")
            .replacingOccurrences(of: ">", with: "&gt;")
    }
}
