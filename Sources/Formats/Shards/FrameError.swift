import Files

/// A frame that does not decode to what it should be.
package struct FrameError: Error, Sendable, CustomStringConvertible {
    package let reason: RejectReason
    package let format: FormatError
    /// Whose frame it is, if its header could be read.
    package internal(set) var rolloutID: String?

    init(_ reason: RejectReason, _ file: String, _ place: String, found: String, expected: String) {
        self.reason = reason
        format = FormatError(file: file, place: place, found: found, expected: expected)
    }

    package var description: String { format.description }
}
