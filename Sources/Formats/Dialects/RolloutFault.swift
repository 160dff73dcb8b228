/// Why a line's rollout can't be used, where the line itself shows it: a short reason to count by, what was found and
/// what is expected.
package struct RolloutFault: Error, Equatable, Sendable {
    package let reason: RejectReason
    package let found: String
    package let expected: String

    package init(_ reason: RejectReason, found: String, expected: String) {
        (self.reason, self.found, self.expected) = (reason, found, expected)
    }

    static func engineError(_ words: String) -> RolloutFault {
        RolloutFault(.engineError, found: "'\(words)'", expected: "a rollout")
    }
}
