import Formats
import Foundation
import LearningCurves
import Testing

@Suite struct LearningCurvesTests {
    private func curve(_ name: String, _ accuracies: [Double?]) -> LearningCurve {
        LearningCurve(
            name: name,
            rows: accuracies.enumerated().map { index, accuracy in
                var row = LoopRow()
                row.iteration = Int32(index)
                row.sampledTokens = index == 0 ? 0 : 100
                row.heldoutAccuracy = accuracy
                row.rewardMean = index == 0 ? nil : 0.5
                return row
            })
    }

    @Test func statisticsAreMeanAndBesselDeviation() {
        #expect(Statistics([1, 2, 3]) == Statistics([3, 1, 2]))
        #expect(Statistics([1, 2, 3])?.mean == 2 && Statistics([1, 2, 3])?.deviation == 1)
        // One value says nothing of how far others lie, none says nothing at all.
        #expect(Statistics([4])?.mean == 4 && Statistics([4])?.deviation == nil && Statistics([]) == nil)
    }

    @Test func theTableHasOneLinePerRecipeBestFirst() {
        let table = CurveTable.markdown([
            curve("low", [0.25, nil, 0.5]), curve("high", [0.25, nil, 0.75]), curve("low", [0.25, nil, 0.6]),
        ])
        let lines = table.split(separator: "\n")
        #expect(lines.count == 4)
        #expect(lines[2].hasPrefix("| high | 1 | 25.0 % | **75.0 %** | 75.0 % … 75.0 %"))
        #expect(lines[3].hasPrefix("| low | 2 | 25.0 % | **55.0 %** ± 7.1 % | 50.0 % … 60.0 %"))
        #expect(lines[3].contains("| 100 | 2 |"))
    }

    /// A loop whose answers nobody judged: neither 0 % nor a curve of it.
    @Test func whatWasNotMeasuredIsNotZero() {
        let unknown = curve("open", [nil, nil, nil]),
            table = CurveTable.markdown([unknown, curve("zero", [0, 0, 0])]).split(separator: "\n")
        #expect(
            table[2].hasPrefix("| zero | 1 | 0.0 % | **0.0 %** | 0.0 % … 0.0 % | – | – |")
                && table[3].hasPrefix("| open | 1 | – | – | – | – | – | 100 | 2 |"))
        let picture = CurvePicture.svg(title: "t", [unknown])
        #expect(!picture.contains("held-out accuracy") && picture.contains("mean reward of the rollouts"))
        #expect(CurvePicture.svg(title: "t", []).contains("held-out accuracy"))
    }

    @Test func aLoopThatWentOnFromAnotherCountsOn() {
        let curve = LearningCurve(name: "a", legs: [curve("a", [0.2, nil, 0.4]).rows, curve("a", [0.41, 0.7]).rows])
        #expect(curve.rows.map(\.iteration) == [0, 1, 2, 3])
        // Where the second leg starts, the first one's measurement stands.
        #expect(curve.rows.map(\.heldoutAccuracy) == [0.2, nil, 0.4, 0.7] && curve.before == 0.2 && curve.after == 0.7)
    }

    @Test func thePictureDrawsEveryRecipeOnceInsideItsFrame() throws {
        let curves = [curve("a<b", [0.2, 0.4]), curve("c", [0.3, nil]), curve("c", [0.5, 0.9])]
        let svg = CurvePicture.svg(title: "t & u", curves)
        #expect(svg == CurvePicture.svg(title: "t & u", curves))
        #expect(svg.contains("a&lt;b") && svg.contains("t &amp; u") && !svg.contains("nan"))
        _ = try XMLDocumentCheck(svg)
    }

    @Test func theCSVHasOneLinePerIteration() {
        let csv = CurveTable.csv(curve("a", [0.25, nil]).rows)
        #expect(csv.split(separator: "\n").count == 3)
        #expect(csv.split(separator: "\n")[1] == "0,0,0,0,0,,,,,,0.250000,,")
    }

    @Test func greedyAccuracyShowsWhereItWasMeasured() {
        var rows = curve("a", [0.25, nil, 0.5]).rows
        (rows[0].heldoutGreedyAccuracy, rows[2].heldoutGreedyAccuracy) = (0.75, 0.875)
        let measured = LearningCurve(name: "a", rows: rows), lines = CurveTable.csv(rows).split(separator: "\n")
        #expect(
            lines[0].hasSuffix(",heldout_length,heldout_greedy_accuracy") && lines[1].hasSuffix(",0.250000,,,0.750000")
                && lines[2].hasSuffix(",,,,"))
        #expect(measured.greedyBefore == 0.75 && measured.greedyAfter == 0.875)
        #expect(CurvePicture.svg(title: "t", [measured]).contains("held-out accuracy, greedy"))
        let table = CurveTable.markdown([measured, curve("b", [0.25, nil, 0.25])]).split(separator: "\n")
        #expect(table[0].contains("| greedy: before | greedy: after |") && table[2].contains("| 75.0 % | 87.5 % |"))
        #expect(table[3].contains("| – | – |") && !CurveTable.markdown([curve("b", [0.25])]).contains("greedy"))
    }
}

/// Tags open and close in order.
private struct XMLDocumentCheck {
    init(_ text: String) throws {
        var open: [Substring] = []
        for tag in text.split(separator: "<").dropFirst(text.hasPrefix("<") ? 0 : 1) {
            guard let end = tag.firstIndex(of: ">") else { throw Unclosed(tag: String(tag)) }
            let name = tag.prefix { $0 != " " && $0 != ">" && $0 != "\n" }
            if name.hasPrefix("/") {
                guard open.popLast() == name.dropFirst() else { throw Unclosed(tag: String(name)) }
            } else if tag[..<end].last != "/" {
                open.append(name)
            }
        }
        if !open.isEmpty { throw Unclosed(tag: "\(open)") }
    }

    struct Unclosed: Error { let tag: String }
}
