import CMappings
import Foundation
import Scratch

/// All files that this process has mapped, held against what they were when it opened them. A file that somebody cuts
/// off or writes to while it is read gives bytes that no moment's file had, and zeros where it has none any more: nothing
/// that was made of them may look whole. Whoever is about to give something its name asks first.
package enum MappedFiles {
    /// Throws `IOError` for the first file that was changed, or could not be read from its disk, while it was mapped: one
    /// that is mapped now, or was at any time in this process.
    package static func requireUnchanged() throws { try register.requireUnchanged() }

    /// Does `body`, and throws in place of what it throws or returns where a file was changed: that explains the rest.
    package static func reading<Result>(_ body: () throws -> Result) throws -> Result {
        do {
            let result = try body()
            try requireUnchanged()
            return result
        } catch {
            try requireUnchanged()
            throw error
        }
    }

    /// Forgets what has been read: for a process that does one run after another.
    package static func forget() { register.forget() }

    static let register = MappedFileRegister()
}

/// A file that is mapped, as the register knows it.
struct MappedFileEntry {
    let path: String
    let identity: FileIdentity
    /// nil of an empty file, which has nothing to be mapped.
    let mapping: OpaquePointer?

    /// What has become of it, if anything.
    func fault() -> IOError? {
        let now: FileIdentity?
        do { now = try fileStatus(path).map(FileIdentity.init) } catch {
            return error as? IOError
        }
        // Under another file's name, or none, it is still what it was.
        if let now, now.isSameFile(identity), now != identity {
            return .changedWhileRead(path, was: identity, now: now)
        }
        guard let missing = mapping.map({ crux_mapping_missing($0) }), missing >= 0 else { return nil }
        return IOError(
            file: path, action: "read it from byte \(missing) on",
            reason: "it was cut off there while it was read, or its disk failed")
    }
}

final class MappedFileRegister: @unchecked Sendable {
    private let mutex = NSLock()
    private var entries: [Int: MappedFileEntry] = [:]
    private var next = 0
    /// Of files that are mapped no more.
    private var faults: [IOError] = []
    /// What files were when digests that stand for them were taken.
    private var digested: [String: FileIdentity] = [:]

    /// - Throws: `IOError` where a digest was taken of something else.
    func requireAsDigested(_ path: String, _ identity: FileIdentity) throws {
        guard let earlier = mutex.withLock({ digested[path] }), !earlier.mayBe(identity) else { return }
        throw IOError.changedSinceDigest(path, was: earlier, now: identity)
    }

    func forget() { mutex.withLock { (faults, digested) = ([], [:]) } }

    func noteDigest(_ path: String, _ identity: FileIdentity) { mutex.withLock { digested[path] = identity } }

    /// A number for `remove`.
    func add(_ entry: MappedFileEntry) -> Int {
        mutex.withLock {
            next += 1
            entries[next] = entry
            return next
        }
    }

    /// Before it is unmapped.
    func remove(_ number: Int) {
        guard let entry = mutex.withLock({ entries.removeValue(forKey: number) }) else { return }
        let fault = entry.fault()
        mutex.withLock { if let fault { faults.append(fault) } }
        if let mapping = entry.mapping { crux_mapping_forget(mapping) }
    }

    func requireUnchanged() throws {
        let (fault, entries) = mutex.withLock { (faults.first, self.entries) }
        if let fault { throw fault }
        for (_, entry) in entries.sorted(by: { $0.key < $1.key }) { if let fault = entry.fault() { throw fault } }
    }
}
