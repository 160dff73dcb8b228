import Arrow
import Files
import Formats
import Foundation
import Scratch
import StageSupport

/// A rollout and what crux-score says of it.
package struct ScoredRow: Sendable {
    package let rollout: RolloutRow
    package let score: ScoreRow

    /// What its entropies came from. Scores of earlier versions don't say: the dump's own grade, then.
    package var evidence: String { score.evidence ?? rollout.evidence }
}

/// The rows of a crux-ingest directory with those of a crux-score directory beside them, file after file as one long
/// table. Rows are read where they lie, from any thread.
package struct ScoredRows: Sendable {
    private struct Part: Sendable {
        let rollouts: TableRows<RolloutRow>
        let scores: TableRows<ScoreRow>
        let rows: Range<Int>
    }

    package let count: Int
    private let parts: [Part]

    /// Holds both directories' files against their manifests, and each scores file against its rollouts file.
    package init(
        ingest: String, _ ingestManifest: Manifest, scores: String, _ scoreManifest: Manifest, _ context: StageContext
    ) throws {
        let names = ingestManifest.outputs.map(\.path).filter { $0.hasPrefix("rollouts-") }
        try ingestManifest.verify(names, in: ingest, context)
        try scoreManifest.verify(names.map(Self.scoreName), in: scores, context)
        var parts: [Part] = [], count = 0
        for name in names {
            let rollouts = try ArrowTableReader(path: ingest + "/" + name, table: Tables.rollouts)
            let marks = try ArrowTableReader(
                path: scores + "/" + Self.scoreName(name), table: Tables.scores.adding(Self.optionalColumns))
            guard rollouts.rowCount == marks.rowCount else {
                throw Self.mismatchError(marks.path, "\(marks.rowCount) rows", rollouts.path)
            }
            parts.append(
                Part(
                    rollouts: TableRows(rollouts), scores: TableRows(marks), rows: count..<count + rollouts.rowCount))
            count += rollouts.rowCount
        }
        (self.parts, self.count) = (parts, count)
    }

    /// There only when asked for, and nullable.
    private static var optionalColumns: [Arrow.Column<ScoreRow>] { [Tables.sumPSquared] + Tables.topK }

    private static func scoreName(_ name: String) -> String { "scores-" + name.dropFirst("rollouts-".count) }

    private static func mismatchError(_ file: String, _ found: String, _ rollouts: String) -> FormatError {
        FormatError(
            file: file, place: "", found: "\(found) that are not those of \((rollouts as NSString).lastPathComponent)",
            expected: "scores of its rows in the same order", remedy: "Score this ingest directory.")
    }

    /// Rows that lie in one batch of an ingest file each: what is best read together.
    package var batches: [Range<Int>] {
        parts.flatMap { part in
            part.rollouts.reader.batches.map {
                $0.lowerBound + part.rows.lowerBound..<$0.upperBound + part.rows.lowerBound
            }
        }
    }

    /// The same rows, of which only these columns are looked at; others stay as a row begins. Both need `rollout_id`.
    package func reading(rollouts: Set<String>, scores: Set<String>) -> ScoredRows {
        ScoredRows(
            parts: parts.map { part in
                Part(
                    rollouts: TableRows(part.rollouts.reader.reading(rollouts)),
                    scores: TableRows(part.scores.reader.reading(scores)), rows: part.rows)
            }, count: count)
    }

    private init(parts: [Part], count: Int) { (self.parts, self.count) = (parts, count) }

    /// - Throws: `FormatError` where the scores can't be those of the rollout.
    package func row(_ number: Int) throws -> ScoredRow {
        let part = part(holding: number), place = number - part.rows.lowerBound
        let rollout = try part.rollouts.row(place), score = try part.scores.row(place)
        guard rollout.rolloutID.isSameBytes(as: score.rolloutID) else {
            throw Self.mismatchError(part.scores.reader.path, "rows", part.rollouts.reader.path)
        }
        try score.require(rollout, file: part.scores.reader.path)
        return ScoredRow(rollout: rollout, score: score)
    }

    /// Number of the row with this rollout_id; nil where there is none. Looks at ids alone.
    package func number(of rolloutID: String) throws -> Int? {
        for part in parts {
            let ids = part.rollouts.reader.reading(["rollout_id"]).cursor()
            let found = try (0..<part.rows.count).first { try ids.row($0).rolloutID.isSameBytes(as: rolloutID) }
            if let found { return part.rows.lowerBound + found }
        }
        return nil
    }

    /// Which file of ingest a row lies in, and where there.
    package func place(of number: Int) -> (file: String, row: Int) {
        let part = part(holding: number)
        return (part.rollouts.reader.path, number - part.rows.lowerBound)
    }

    private func part(holding row: Int) -> Part {
        guard let part = parts.first(where: { $0.rows.contains(row) }) else {
            preconditionFailure("row \(row) of \(count)")
        }
        return part
    }
}
