import Files
import Foundation
import Scratch

/// Names of the files that runs have made in a stage directory, noted in `.work` before each is written: what may be
/// written over, and what `--overwrite` may delete of an unfinished directory. A finished one has its manifest for
/// that.
final class OwnFiles: @unchecked Sendable {
    private let directory: String
    private let journal: String
    private let mutex = NSLock()
    private var known: Set<String>
    /// A directory that an earlier version left unfinished has no such notes.
    private let knowsAll: Bool

    static let prefix = "outputs-"

    /// `rank`: each task notes its own.
    init(_ directory: String, work: String, rank: Int, knowsAll: Bool) throws {
        self.directory = directory
        journal = work + "/" + Self.prefix + "\(rank).txt"
        known = Set(try Self.noted(work))
        self.knowsAll = knowsAll
    }

    /// Path of a file that is about to be written. Refuses (5) one that is there already and is nobody's of ours.
    func writing(_ name: String) throws -> String {
        let path = directory + "/" + name
        try mutex.withLock {
            guard known.insert(name).inserted else { return }
            var status = stat()
            if knowsAll, lstat(path, &status) == 0 {
                throw StageError(
                    .otherConfiguration,
                    "\(path): found a file that no run of this directory has made. Move it away, or choose another --output."
                )
            }
            try note([name])
        }
        return path
    }

    func knows(_ name: String) -> Bool { mutex.withLock { known.contains(name) } }

    func note(_ names: [String]) throws {
        let descriptor = uninterrupted { open(journal, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644) }
        guard descriptor >= 0 else { throw IOError.fromErrno(journal, "open the list of outputs") }
        defer { close(descriptor) }
        // A line of its own, whatever an earlier run has left: half a name perhaps.
        var bytes = Array(names.map { "\n" + $0 + "\n" }.joined().utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { bytes in
                uninterrupted { write(descriptor, bytes.baseAddress, bytes.count) }
            }
            guard count > 0 else { throw IOError.fromErrno(journal, "write the list of outputs") }
            bytes.removeFirst(count)
        }
    }

    /// What the work folder names: the notes, and the outputs of finished pieces.
    static func noted(_ work: String) throws -> [String] {
        guard try Folder.isFolder(work) else { return [] }
        let names = try Folder.names(work)
        let notes = try names.filter { $0.hasPrefix(prefix) }.compactMap { try readFile(work + "/" + $0) }
        let pieces = try names.filter { $0.hasSuffix(".json") }.compactMap { try readFile(work + "/" + $0) }
        return notes.flatMap { String(decoding: $0, as: UTF8.self).split(separator: "\n").map(String.init) }
            + pieces.compactMap {
                ((try? JSONSerialization.jsonObject(with: $0)) as? [String: Any])?["output"] as? String
            }
    }
}

/// Empties stage directories of what their own manifest or work folder names, and of nothing else.
struct StageEmptying {
    let directory: String

    /// Removes the named files, and folders that are empty then. A stage directory below is emptied by its own
    /// manifest.
    func remove(_ names: [String]) throws {
        let safe = names.filter(isOwn)
        for name in safe where name.hasSuffix("/" + Manifest.name) {
            try StageEmptying(directory: directory + "/" + parentFolder(name)).removeAll()
        }
        for name in safe where name.hasSuffix(AtomicFile.temporarySuffix + "/") {
            try removeWhole(String(name.dropLast()))
        }
        for name in safe where name.hasSuffix("/") { try removeStages(below: String(name.dropLast())) }
        for name in safe where !name.hasSuffix("/") { try unlinkFile(name) }
        let folders = Set(safe.flatMap(folders)).sorted { $0.count > $1.count }
        // A folder with something of somebody else's stays.
        for folder in folders { rmdir(directory + "/" + folder) }
    }

    /// A whole stage directory, but for what is somebody's own.
    private func removeAll() throws {
        let outputs = try listedOutputs()
        let work = directory + "/" + StageDirectory.workName
        try unlinkFile(Manifest.name)
        try remove(outputs + (try OwnFiles.noted(work)) + (try ownRecord()))
        try removeWork()
    }

    /// None where its manifest is damaged, or nobody's.
    private func listedOutputs() throws -> [String] {
        do { return try Manifest.read(directory)?.outputs.map(\.path) ?? [] } catch is FormatError { return [] }
    }

    /// The record of its runs, where it is theirs: no manifest lists it.
    func ownRecord() throws -> [String] { try RunRecord.isOwn(in: directory) ? [RunRecord.name] : [] }

    /// The stage directories in a folder of a loop.
    private func removeStages(below folder: String) throws {
        let path = directory + "/" + folder
        guard try Folder.isFolder(path, following: false) else { return }
        for name in try Folder.names(path) where try StageDirectory.isStage(path + "/" + name) {
            try StageEmptying(directory: path + "/" + name).removeAll()
            rmdir(path + "/" + name)
        }
        rmdir(path)
    }

    /// The work folder is ours as a whole.
    func removeWork() throws { try removeWhole(StageDirectory.workName) }

    private func removeWhole(_ name: String) throws { try Folder.remove(directory + "/" + name) }

    func unlinkFile(_ name: String) throws {
        let path = directory + "/" + name
        guard unlink(path) != 0, errno != ENOENT else { return }
        // Folders are not files of ours by name.
        guard errno != EISDIR, errno != EPERM else { return }
        throw IOError.fromErrno(path, "remove it")
    }

    /// Names that lead to somewhere in this directory, through folders and not through links.
    private func isOwn(_ name: String) -> Bool {
        let parts = name.split(separator: "/")
        guard !name.hasPrefix("/"), !parts.isEmpty, !parts.contains(where: { $0 == ".." || $0 == "." }),
            parts[0] != StageDirectory.workName
        else {
            return false
        }
        return folders(name).allSatisfy { folder in
            var status = stat()
            return lstat(directory + "/" + folder, &status) != 0 || status.st_mode & S_IFMT == S_IFDIR
        }
    }

    /// `a/b/c` → `a`, `a/b`; `a/b/` → `a`, `a/b`.
    private func folders(_ name: String) -> [String] {
        let parts = name.split(separator: "/", omittingEmptySubsequences: false).dropLast().filter { !$0.isEmpty }
        return parts.indices.map { parts[...$0].joined(separator: "/") }
    }
}
