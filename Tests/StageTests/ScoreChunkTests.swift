import Arrow
import Formats
import Foundation
import TestSupport
import Testing

/// Ingest files of more rollouts than are in memory at a time.
@Suite struct ScoreChunkTests {
    @Test func everyRowIsScoredInItsPlace() throws {
        let folder = try TemporaryDirectory(), ingest = try folder.folder("ingest"), count = 20_000
        var table = try ArrowTableWriter(path: ingest + "/rollouts-00000.arrow", table: Tables.rollouts, metadata: [:])
        for index in 0..<count {
            var row = RolloutRow()
            (row.rolloutID, row.groupID, row.givenReward) = ("r\(index)", "g\(index / 4)", Float(index % 7))
            (row.tokenIDs, row.lossMask, row.rolloutLogprobs) = (
                [1, 2, Int32(index % 50)], [false, true, true], [0, -1, -Float(index % 11)]
            )
            try table.append(row)
        }
        try table.finish()
        let manifest: [String: Any] = [
            "stage": "ingest", "version": "0", "configuration": [:] as [String: String], "inputs": [] as [String],
            "outputs": [["path": "rollouts-00000.arrow"]],
            "counts": ["rollouts": count],
        ]
        try JSONSerialization.data(withJSONObject: manifest).write(to: URL(fileURLWithPath: ingest + "/manifest.json"))
        let result = try Executable("crux-score").run([
            "--quiet", "--input", ingest, "--output", folder.path + "/score",
        ])
        #expect(result.status == 0, "\(result.errors)")
        let scores = try ArrowTableReader(path: folder.path + "/score/scores-00000.arrow", table: Tables.scores).rows()
        #expect(scores.count == count)
        for (index, score) in scores.enumerated() {
            #expect(
                score.rolloutID == "r\(index)" && score.reward == Float(index % 7)
                    && score.oldLogprobs == [0, -1, -Float(index % 11)], "row \(index)")
        }
    }
}
