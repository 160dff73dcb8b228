import Foundation

/// A file could not be written (or renamed, or synced), or the system failed where one was read: the disk is full, a
/// permission is missing, a folder is gone, a disk or a network is ill. Kept apart from `FormatError` because the
/// remedy is another: the input may be perfectly good.
package struct IOError: Error, Equatable, Sendable, CustomStringConvertible {
    package let file: String
    package let action: String
    package let reason: String
    private let remedy: String

    package init(file: String, action: String, reason: String) {
        self.init(file: file, action: action, reason: reason, remedy: Self.usualRemedy)
    }

    package init(file: String, action: String, reason: String, remedy: String) {
        (self.file, self.action, self.reason, self.remedy) = (file, action, reason, remedy)
    }

    /// With the reason that the system gave last.
    package static func fromErrno(_ file: String, _ action: String) -> IOError {
        IOError(file: file, action: action, code: errno)
    }

    /// With the system's number for the reason.
    package init(file: String, action: String, code: Int32) {
        self.init(
            file: file, action: action, reason: String(cString: strerror(code)),
            remedy: Self.remedies[code] ?? Self.usualRemedy)
    }

    private static let usualRemedy = "free space or fix permissions and run again"

    private static let remedies: [Int32: String] = [
        ENOSPC: "free space and run again", EDQUOT: "free space and run again",
        EFBIG: "allow larger files (ulimit -f) and run again",
        EACCES: "fix permissions and run again", EPERM: "fix permissions and run again",
        EROFS: "choose a place that can be written to",
        EMFILE: "allow more open files (ulimit -n) and run again", ENFILE: "close other programs' files and run again",
        ENOMEM: "free memory and run again", EIO: "check the disk or the network file system and run again",
        EAGAIN: "allow more processes and threads (ulimit -u) and run again",
        ESTALE: "check the network file system and run again",
    ]

    package var description: String {
        "\(file): could not \(action): \(reason). What was complete before is untouched; \(remedy)."
    }
}
