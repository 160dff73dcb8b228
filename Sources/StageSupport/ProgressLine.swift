import Foundation
import Synchronization

/// "decoding 12 / 64", redrawn in place on a terminal's stderr; silent everywhere else.
package final class ProgressLine: Sendable {
    private struct State {
        var done = 0
        var shownAt = Date.distantPast
    }

    private let label: String
    private let total: Int
    private let isShown: Bool
    private let state = Mutex(State())
    private static let secondsBetweenRedraws = 0.1

    init(label: String, total: Int, isShown: Bool) {
        self.label = label
        self.total = total
        self.isShown = isShown
    }

    package func advance(by count: Int = 1) {
        guard isShown else { return }
        let now = Date()
        let due = state.withLock { state -> Int? in
            state.done += count
            guard now.timeIntervalSince(state.shownAt) > ProgressLine.secondsBetweenRedraws else { return nil }
            state.shownAt = now
            return state.done
        }
        if let due { Terminal.progress("\(label) \(due) / \(total)") }
    }

    package func finish() {
        if isShown { Terminal.progress("") }
    }
}
