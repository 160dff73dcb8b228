import CSystem
import Foundation
import Scratch

/// A file that appears under its name only when it is whole: written under a temporary name in the same folder, synced,
/// renamed, and the folder synced. Nothing half-written can be taken for finished work.
package final class AtomicFile {
    package let path: String
    private let temporary: String
    private var descriptor: Int32
    private var hasItsName = false
    private var pending: [UInt8] = []
    private let digest: RunningDigest?
    private let isOfInputs: Bool
    package private(set) var position = 0
    /// Bytes that the file has, and those of them that are on their way to the disk.
    private var written = 0
    private var writingBack = 0

    /// The temporary name is this writer's own, so that two runs at once don't write into one file. What a killed run
    /// leaves behind is swept away by the next (`isTemporary`). `digests`: take the file's SHA-256 on the way, so that
    /// it need not be read again. `isOfInputs`: whether it holds anything that was made of files that were read; then it
    /// takes its name only if none of them has changed meanwhile.
    package init(_ path: String, digests: Bool = false, isOfInputs: Bool = true) throws {
        (self.path, self.isOfInputs) = (path, isOfInputs)
        digest = digests ? RunningDigest() : nil
        temporary = path + String(format: ".%016llx", UInt64.random(in: 0...UInt64.max)) + Self.temporarySuffix
        descriptor = uninterrupted { [temporary] in open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644) }
        guard descriptor >= 0 else { throw IOError.fromErrno(path, "create the file") }
        pending.reserveCapacity(Self.flushBytes)
    }

    /// What the name of an unfinished file ends with.
    package static let temporarySuffix = UnnamedFile.temporarySuffix

    /// Whether a name is one that this type makes up: something, a dot, 16 hexadecimal digits and the suffix.
    package static func isTemporary(_ name: String) -> Bool {
        guard name.hasSuffix(temporarySuffix) else { return false }
        let parts = name.dropLast(temporarySuffix.count).split(separator: ".", omittingEmptySubsequences: false)
        return parts.count > 1 && (parts.last ?? "").count == 16
            && (parts.last ?? "").allSatisfy { $0.isHexDigit && !$0.isUppercase }
    }

    private static let flushBytes = 1 << 20
    private static let writeBackBytes = 32 << 20

    package func write(_ bytes: UnsafeRawBufferPointer) throws {
        position += bytes.count
        guard bytes.count < Self.flushBytes else {
            try flush()
            return try writeAll(bytes)
        }
        pending.append(contentsOf: bytes)
        if pending.count >= Self.flushBytes { try flush() }
    }

    package func write(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes { try write($0) } }

    package func write(_ text: String) throws { try write(Array(text.utf8)) }

    /// Makes the file visible under its name and returns its SHA-256 in hex, if it was to be taken.
    @discardableResult
    package func commit() throws -> String? {
        try flush()
        if isOfInputs { try MappedFiles.requireUnchanged() }
        guard uninterrupted({ fsync(descriptor) }) == 0 else { throw IOError.fromErrno(path, "write the file to disk") }
        let closed = close(descriptor)
        descriptor = -1
        guard closed == 0 else { throw IOError.fromErrno(path, "close the file") }
        guard uninterrupted({ rename(temporary, path) }) == 0 else {
            throw IOError.fromErrno(path, "rename the finished file")
        }
        hasItsName = true
        try syncFolder(of: path)
        return digest?.finish()
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
        if !hasItsName { unlink(temporary) }
    }

    /// `commit` of a file whose digest was to be taken, with all that is known of it then.
    @discardableResult
    package func finish(rows: Int? = nil) throws -> WrittenFile {
        guard let sha256 = try commit() else { preconditionFailure("\(path) was opened without digests") }
        return WrittenFile(bytes: position, sha256: sha256, rows: rows)
    }

    @discardableResult
    package static func write(_ text: String, to path: String, isOfInputs: Bool = true) throws -> WrittenFile {
        let file = try AtomicFile(path, digests: true, isOfInputs: isOfInputs)
        try file.write(text)
        return try file.finish()
    }

    private func flush() throws {
        guard !pending.isEmpty else { return }
        try pending.withUnsafeBytes { try writeAll($0) }
        pending.removeAll(keepingCapacity: true)
    }

    private func writeAll(_ bytes: UnsafeRawBufferPointer) throws {
        digest?.add(bytes)
        var done = 0
        while done < bytes.count {
            let count = uninterrupted { Glibc.write(descriptor, bytes.baseAddress! + done, bytes.count - done) }
            guard count > 0 else { throw IOError.fromErrno(path, "write the file") }
            done += count
        }
        written += bytes.count
        startWritingBack()
    }

    /// The disk works while the next bytes are made, and the sync at the end waits for the last of them alone.
    private func startWritingBack() {
        guard written - writingBack >= Self.writeBackBytes else { return }
        crux_start_writing_back(descriptor, writingBack, written - writingBack)
        writingBack = written
    }
}

/// After a rename only the folder's own sync makes the new name survive a power cut. Some file systems know no sync of
/// folders; whatever else keeps it from succeeding counts, although the name is there already.
package func syncFolder(of path: String) throws {
    let folder = parentFolder(path)
    let descriptor = uninterrupted { open(folder.isEmpty ? "." : folder, O_RDONLY | O_CLOEXEC) }
    guard descriptor >= 0 else { throw IOError.fromErrno(path, "open the folder to sync it") }
    defer { close(descriptor) }
    guard uninterrupted({ fsync(descriptor) }) != 0, ![EINVAL, ENOTSUP, ENOSYS].contains(errno) else { return }
    throw IOError.fromErrno(path, "write the name of the finished file to disk")
}
