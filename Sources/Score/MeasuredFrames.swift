import Arrow
import Entropy
import Files
import Formats
import Foundation
import FrameMeasures
import Scratch

/// What crux-ingest measured of the rollouts of a table, to be looked up by their ids.
struct MeasuredFrames: Sendable {
    private let index: StringIndex
    private let reader: ArrowTableReader<MeasureRow>
    private let cursors = IdlePool<ArrowRowCursor<MeasureRow>>()

    /// Name of the table that goes with one of rollouts.
    static func name(_ rollouts: String) -> String { "measures-" + rollouts.dropFirst("rollouts-".count) }

    init(path: String) throws {
        reader = try ArrowTableReader(path: path, table: Tables.measures)
        var names = try StringInterner(.temporary)
        let file = path
        try reader.reading(["rollout_id"]).forEachRow { row in
            let number = names.count
            guard Int(try names.number(of: row.rolloutID)) == number else {
                throw FormatError(
                    file: file, place: "rollout '\(row.rolloutID)'", found: "it twice", expected: "each rollout once",
                    remedy: "Ingest the dump again, with --overwrite.")
            }
        }
        index = try names.finishIndex()
    }

    /// nil where a rollout wasn't measured.
    func row(_ rolloutID: String) throws -> MeasureRow? {
        guard let number = index.number(of: rolloutID) else { return nil }
        let cursor = cursors.take { $0.holds(number) } ?? reader.cursor()
        defer { cursors.give(cursor) }
        return try cursor.row(number)
    }

    func storageError(_ row: MeasureRow) throws -> StorageError {
        do { return try JSONDecoder().decode(StorageError.self, from: Data(row.storage.utf8)) } catch {
            throw foreign(row, "storage_error '\(row.storage.prefix(60))'", "the sums that crux-ingest writes")
        }
    }

    func invalidity(_ row: MeasureRow) throws -> Verdict? {
        try row.invalid.map { word in
            guard let verdict = Verdict(rawValue: word), verdict.isUnusable else {
                throw foreign(row, "invalid '\(word)'", "the verdict of a rollout that can't be used, or null")
            }
            return verdict
        }
    }

    private func foreign(_ row: MeasureRow, _ found: String, _ expected: String) -> FormatError {
        FormatError(
            file: reader.path, place: "rollout '\(row.rolloutID)'", found: found, expected: expected,
            remedy: "Ingest the dump again, with --overwrite.")
    }
}
