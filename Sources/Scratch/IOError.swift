import Foundation

/// A file could not be written (or renamed, or synced): the disk is full, a permission is missing, a folder is gone.
/// Kept apart from `FormatError` because the remedy is another: the input may be perfectly good.
package struct IOError: Error, Equatable, Sendable, CustomStringConvertible {
    package let file: String
    package let action: String
    package let reason: String

    package init(file: String, action: String, reason: String) {
        self.file = file
        self.action = action
        self.reason = reason
    }

    /// With the reason that the system gave last.
    package static func fromErrno(_ file: String, _ action: String) -> IOError {
        IOError(file: file, action: action, reason: String(cString: strerror(errno)))
    }

    package var description: String {
        "\(file): could not \(action): \(reason). What was complete before is untouched; free space or fix permissions and run again."
    }
}
