import Files
import Foundation
import Scratch

/// Keeps account of who worked in a stage directory: each process in a file of its own in `.work`, all of them in
/// `run.json` when the directory is finished.
final class RunHistory: @unchecked Sendable {
    private let directory: String
    private let work: String
    private let draft: RunRecord
    private let path: String
    private let mutex = NSLock()
    private var attempt: RunAttempt
    private let start = DispatchTime.now().uptimeNanoseconds

    private static let prefix = "attempt-"

    init(_ directory: String, work: String, _ plan: Manifest, _ opening: StageDirectory.Opening) {
        (self.directory, self.work) = (directory, work)
        // A dump of many shards is one folder.
        let reads = opening.reads.map(resolvedPath), places = Set(reads)
        draft = RunRecord(
            stage: plan.stage, place: resolvedPath(directory),
            reads: reads.filter { !places.contains(parentFolder($0)) }, recipes: opening.documents, attempts: [])
        attempt = RunAttempt(opening.share)
        path =
            work + "/" + Self.prefix
            + String(format: "%d-%d-%016llx", opening.share.rank, getpid(), UInt64.random(in: 0...UInt64.max))
    }

    /// Notes that this process has begun.
    ///
    /// - Throws: (5) where somebody else's file has the record's name: better now than after the work.
    func begin() throws {
        guard try RunRecord.isOwn(in: directory) else {
            throw StageError(
                .otherConfiguration,
                "\(directory)/\(RunRecord.name): found a file that no run has made. Move it away, or choose another --output."
            )
        }
        try save()
    }

    /// Notes how this process has ended: in its own file, or in the record of a directory that another task has finished
    /// meanwhile. The caller sees to it that nobody does so now.
    func end(_ status: ExitStatus) {
        mutex.withLock {
            attempt.ended = timestamp()
            attempt.seconds = Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9
            attempt.status = status.rawValue
        }
        // What has failed has its own error; this one would hide it.
        if (try? Folder.isFolder(work)) == true { try? save() } else { try? amend() }
    }

    private func amend() throws {
        let own = mutex.withLock { self.attempt }
        guard var record = try RunRecord.read(directory),
            let index = record.attempts.firstIndex(where: {
                ($0.process, $0.host, $0.started) == (own.process, own.host, own.started)
            }), record.attempts[index].status != own.status
        else { return }
        record.attempts[index] = own
        try AtomicFile.write(try record.encoded(), to: directory + "/" + RunRecord.name, isOfInputs: false)
    }

    /// The record of the whole directory, this process's end included.
    func finished() throws -> String {
        end(.done)
        var record = draft
        record.attempts = try Self.attempts(in: directory, work: work)
        return try record.encoded()
    }

    private func save() throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let attempt = mutex.withLock { self.attempt }
        let text = String(decoding: try encoder.encode(attempt), as: UTF8.self)
        try AtomicFile.write(text, to: path, isOfInputs: false)
    }

    /// Of a directory finished or not, in the order in which they began.
    static func attempts(in directory: String, work: String) throws -> [RunAttempt] {
        let earlier = try RunRecord.readable(directory)?.attempts ?? []
        let now = try Folder.isFolder(work) ? noted(work) : []
        return (earlier + now).sorted { ($0.started, $0.rank) < ($1.started, $1.rank) }
    }

    private static func noted(_ work: String) throws -> [RunAttempt] {
        let names = try Folder.names(work).filter { $0.hasPrefix(prefix) && !AtomicFile.isTemporary($0) }
        return try names.compactMap { name in
            try readFile(work + "/" + name).flatMap { try? JSONDecoder().decode(RunAttempt.self, from: $0) }
        }
    }
}
