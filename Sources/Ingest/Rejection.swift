import Formats

/// A rollout that breaks a rule: a short reason to count by, a sentence to understand it by.
struct Rejection: Error {
    let rolloutID: String?
    let reason: RejectReason
    let detail: String

    init(_ rolloutID: String?, _ reason: RejectReason, found: String, expected: String) {
        self.rolloutID = rolloutID
        self.reason = reason
        detail = "found \(found), expected \(expected)"
    }

    init(_ rolloutID: String?, _ reason: RejectReason, detail: String) {
        (self.rolloutID, self.reason, self.detail) = (rolloutID, reason, detail)
    }

    init(_ rolloutID: String?, _ fault: RolloutFault) {
        self.init(rolloutID, fault.reason, found: fault.found, expected: fault.expected)
    }
}

/// The same with its place in the file: an entry of the input that becomes no row.
struct EntryRejection: Codable, Sendable {
    /// Number of the frame or line in its file, and its first byte.
    var frameIndex: Int
    var frameOffset: Int
    /// nil where none can be read.
    var rolloutID: String?
    var reason: RejectReason
    var detail: String
}
