import Files
import Foundation

/// Pieces of work, one output file each (a shard, mostly), which remember that they are finished: a rerun skips them,
/// and tasks that share the work see each other's.
package final class WorkList<Record: Codable & Sendable> {
    private let directory: StageDirectory
    private let names: [String]
    /// Pieces that this process has finished itself: it need not look at them again.
    private var made: [Int: Finished] = [:]

    /// `names` are the output files, in order; each piece writes its own.
    package init(_ directory: StageDirectory, outputs names: [String]) {
        self.directory = directory
        self.names = names
    }

    /// A finished piece: what it found, and its output.
    package struct Finished: Sendable {
        package var record: Record
        package var file: Manifest.File
    }

    private struct Marker: Codable {
        var output: String
        var file: WrittenFile
        var record: Record
    }

    private func markerPath(_ index: Int) -> String { directory.workPath + String(format: "/%05d.json", index) }

    /// A finished piece whose output is still what it was.
    private func finished(_ index: Int) throws -> Finished? {
        if let made = made[index] { return made }
        guard let data = try readFile(markerPath(index)),
            let marker = try? JSONDecoder().decode(Marker.self, from: data)
        else { return nil }
        let piece = Finished(record: marker.record, file: Manifest.File(names[index], marker.file))
        do {
            return try SHA256Digest.ofFile(directory.file(names[index])) == marker.file.sha256 ? piece : nil
        } catch is FormatError { return nil }
    }

    /// Runs this task's unfinished pieces in order. A piece that fails with a format error is reported and left out;
    /// the others go on. `isCurrent` says of a finished piece whether its input is still the one it was made from.
    /// `piece` returns what it found and what the writer of its output knows of it.
    package func run(
        _ context: StageContext, isCurrent: (_ index: Int, _ record: Record) throws -> Bool = { _, _ in true },
        piece: (_ index: Int, _ output: String) throws -> (Record, WrittenFile)
    ) throws -> [FormatError] {
        var failures: [FormatError] = []
        for index in names.indices where context.options.share.owns(index) {
            if let piece = try finished(index), try isCurrent(index, piece.record) {
                made[index] = piece
                continue
            }
            try context.checkInterruption()
            do { try keep(index, try piece(index, try directory.writing(names[index]))) } catch let error as FormatError
            {
                // Not the file's own fault where it was changed under our hands.
                try MappedFiles.requireUnchanged()
                context.report(error: error)
                failures.append(error)
            }
        }
        return failures
    }

    private func keep(_ index: Int, _ piece: (record: Record, file: WrittenFile)) throws {
        let marker = Marker(output: names[index], file: piece.file, record: piece.record)
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        try AtomicFile.write(String(decoding: try encoder.encode(marker), as: UTF8.self), to: markerPath(index))
        made[index] = Finished(record: piece.record, file: Manifest.File(names[index], piece.file))
    }

    /// All pieces in order once every one is finished; nil while another task still works.
    package func all() throws -> [Finished]? {
        var pieces: [Finished] = []
        for index in names.indices {
            guard let piece = try finished(index) else { return nil }
            pieces.append(piece)
        }
        return pieces
    }
}
