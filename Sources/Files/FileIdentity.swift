import Foundation
import Scratch

/// What tells a file from another, and from what it was before: where it lies, its length, and when it was last written
/// to. Whoever writes into a file changes one of these, but for a write of the same length within one tick of the file
/// system's clock.
package struct FileIdentity: Equatable, Sendable {
    package let device: UInt
    package let inode: UInt
    package let bytes: Int
    /// Seconds and nanoseconds.
    package let modified: [Int]

    init(_ status: stat) {
        (device, inode, bytes) = (UInt(status.st_dev), UInt(status.st_ino), Int(status.st_size))
        modified = [status.st_mtim.tv_sec, status.st_mtim.tv_nsec]
    }

    func isSameFile(_ other: FileIdentity) -> Bool { (device, inode) == (other.device, other.inode) }

    /// Whether it may have the same content. Some file systems give a file another number each time that it is opened.
    func mayBe(_ other: FileIdentity) -> Bool { bytes == other.bytes && modified == other.modified }
}

extension IOError {
    /// A file that isn't what it was when it was opened.
    static func changedWhileRead(_ path: String, was: FileIdentity, now: FileIdentity) -> IOError {
        IOError(
            file: path, action: "read it as it was when it was opened",
            reason: now.bytes < was.bytes
                ? "it was cut off at \(now.bytes) of \(was.bytes) bytes while it was read"
                : "it was written to while it was read (\(was.bytes) bytes then, \(now.bytes) now)",
            remedy: remedyOfChange)
    }

    /// A file that another one has replaced, or that was written to, since its digest was taken.
    static func changedSinceDigest(_ path: String, was: FileIdentity, now: FileIdentity) -> IOError {
        IOError(
            file: path, action: "read what its digest was taken of",
            reason: "it was changed since then (\(was.bytes) bytes then, \(now.bytes) now)", remedy: remedyOfChange)
    }

    private static let remedyOfChange = "see to it that nobody writes to it, and run again"
}
