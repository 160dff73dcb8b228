/// Who wrote a token of a rollout.
package enum TokenRole: Int32, CaseIterable, Sendable {
    case prompt = 0
    case policy = 1
    case tool = 2
    case user = 3
    case system = 4
    /// Put there by the harness: a template's markers, a reminder.
    case injected = 5

    package var name: String { "\(self)" }
}
