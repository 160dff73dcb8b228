import Formats
import Foundation

/// Pieces of work, one output file each (a shard, mostly), which remember that they are finished: a rerun skips them, and
/// tasks that share the work see each other's.
package struct WorkList<Record: Codable & Sendable>: Sendable {
    private let directory: StageDirectory
    private let names: [String]

    /// `names` are the output files, in order; each piece writes its own.
    package init(_ directory: StageDirectory, outputs names: [String]) {
        self.directory = directory
        self.names = names
    }

    private struct Marker: Codable {
        var output: String
        var sha256: String
        var record: Record
    }

    private func markerPath(_ index: Int) -> String { directory.workPath + String(format: "/%05d.json", index) }

    /// The record of a finished piece whose output is still what it was.
    private func finished(_ index: Int) throws -> Record? {
        guard let data = try readFile(markerPath(index)), let marker = try? JSONDecoder().decode(Marker.self, from: data) else { return nil }
        do { return try SHA256Digest.ofFile(directory.file(names[index])) == marker.sha256 ? marker.record : nil } catch is FormatError { return nil }
    }

    /// Runs this task's unfinished pieces in order. A piece that fails with a format error is reported and left out; the
    /// others go on.
    /// `isCurrent` says of a finished piece whether its input is still the one it was made from.
    package func run(
        _ context: StageContext, isCurrent: (_ index: Int, _ record: Record) -> Bool = { _, _ in true },
        piece: (_ index: Int, _ output: String) throws -> Record
    ) throws -> [FormatError] {
        var failures: [FormatError] = []
        for index in names.indices where context.options.share.owns(index) {
            if let record = try finished(index), isCurrent(index, record) { continue }
            try context.checkInterruption()
            do { try keep(index, try piece(index, directory.file(names[index]))) } catch let error as FormatError {
                context.report(error: error.description)
                failures.append(error)
            }
        }
        return failures
    }

    private func keep(_ index: Int, _ record: Record) throws {
        let marker = Marker(output: names[index], sha256: try SHA256Digest.ofFile(directory.file(names[index])), record: record)
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        try AtomicFile.write(String(decoding: try encoder.encode(marker), as: UTF8.self), to: markerPath(index))
    }

    /// All records in order once every piece is finished; nil while another task still works.
    package func allRecords() throws -> [Record]? {
        var records: [Record] = []
        for index in names.indices {
            guard let record = try finished(index) else { return nil }
            records.append(record)
        }
        return records
    }
}
