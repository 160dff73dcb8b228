import Arrow
import Formats
import TestSupport
import Testing

/// Tables whose metadata tells the evidence of their rows.
@Suite struct EvidenceTableTests {
    private func table(_ path: String) -> EvidenceTable<ScoreRow> {
        EvidenceTable(path: path, table: Tables.scores, evidenceOf: { $0.evidence ?? "none" }) {
            ["evidence": $0.sorted().joined(separator: " ")]
        }
    }

    private func row(_ number: Int, _ word: String?) -> ScoreRow {
        var row = ScoreRow()
        (row.rolloutID, row.evidence, row.reward) = ("r\(number)", word, Float(number))
        row.setVerdict(.given)
        return row
    }

    @Test(
        arguments: [[], ["topk"], ["topk", "topk"], ["topk", nil, "logits", "topk"], [nil, "logits"]] as [[String?]])
    func theBeginningTellsTheEvidenceOfAllRows(_ evidence: [String?]) throws {
        let folder = try TemporaryDirectory(), path = try folder.folder("x") + "/scores.arrow"
        var writer = EvidenceTableWriter(table(path))
        for (number, word) in evidence.enumerated() { try writer.append(row(number, word)) }
        try writer.finish()
        let read = try ArrowTableReader(path: path, table: Tables.scores)
        #expect(read.metadata["evidence"] == Set(evidence.map { $0 ?? "none" }).sorted().joined(separator: " "))
        #expect(
            try read.rows().map(\.evidence) == evidence
                && read.rows().map(\.rolloutID) == evidence.indices.map { "r\($0)" }
        )
    }

    @Test func rowsCanBeTakenOut() throws {
        let folder = try TemporaryDirectory(), path = try folder.folder("x") + "/scores.arrow"
        var writer = EvidenceTableWriter(table(path))
        for (number, word) in ["topk", "logits", "topk"].enumerated() { try writer.append(row(number, word)) }
        try writer.finish()
        _ = try table(path).rewrite { $0.rolloutID != "r1" }
        let read = try ArrowTableReader(path: path, table: Tables.scores)
        #expect(read.metadata["evidence"] == "topk")
        #expect(try read.rows().map(\.rolloutID) == ["r0", "r2"])
    }
}
