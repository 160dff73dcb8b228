import Arrow
import Formats
import TestSupport
import Testing

/// Tables whose metadata tells the grades of their rows.
@Suite struct GradedTableTests {
    private func table(_ path: String) -> GradedTable<ScoreRow> {
        GradedTable(path: path, table: Tables.scores, grade: { $0.evidence ?? "none" }) {
            ["grades": $0.sorted().joined(separator: " ")]
        }
    }

    private func row(_ number: Int, _ grade: String?) -> ScoreRow {
        var row = ScoreRow()
        (row.rolloutID, row.verdict, row.evidence, row.reward) = ("r\(number)", "given", grade, Float(number))
        return row
    }

    @Test(
        arguments: [[], ["topk"], ["topk", "topk"], ["topk", nil, "logits", "topk"], [nil, "logits"]] as [[String?]])
    func theBeginningTellsTheGradesOfAllRows(_ grades: [String?]) throws {
        let folder = try TemporaryDirectory(), path = try folder.folder("x") + "/scores.arrow"
        var writer = GradedTableWriter(table(path))
        for (number, grade) in grades.enumerated() { try writer.append(row(number, grade)) }
        try writer.finish()
        let read = try ArrowTableReader(path: path, table: Tables.scores)
        #expect(read.metadata["grades"] == Set(grades.map { $0 ?? "none" }).sorted().joined(separator: " "))
        #expect(
            try read.rows().map(\.evidence) == grades && read.rows().map(\.rolloutID) == grades.indices.map { "r\($0)" }
        )
    }

    @Test func rowsCanBeTakenOut() throws {
        let folder = try TemporaryDirectory(), path = try folder.folder("x") + "/scores.arrow"
        var writer = GradedTableWriter(table(path))
        for (number, grade) in ["topk", "logits", "topk"].enumerated() { try writer.append(row(number, grade)) }
        try writer.finish()
        try table(path).rewrite { $0.rolloutID != "r1" }
        let read = try ArrowTableReader(path: path, table: Tables.scores)
        #expect(read.metadata["grades"] == "topk")
        #expect(try read.rows().map(\.rolloutID) == ["r0", "r2"])
    }
}
