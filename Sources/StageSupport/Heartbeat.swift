import Foundation

/// A line every 30 s that tells how far a run is, where stderr is no terminal: a log shall show that it is alive.
/// Another number of seconds stands in CRUX_PROGRESS_SECONDS.
final class Heartbeat: @unchecked Sendable {
    private let condition = NSCondition()
    private let start = Date()
    private var isStopped = false
    private weak var line: ProgressLine?

    func start(_ context: StageContext) {
        guard !context.options.quiet, isatty(STDERR_FILENO) != 1 else { return }
        let said = ProcessInfo.processInfo.environment["CRUX_PROGRESS_SECONDS"].flatMap { Double($0) },
            seconds = said.map { max(0.05, $0) } ?? 30
        guard seconds.isFinite else { return }
        let team = ThreadTeam(1) { [self] in
            while waits(seconds) { beat(context) }
        }
        guard team.size > 0 else { return context.warn("no thread could be started: nothing tells how far the run is") }
        team.detach()
    }

    func stop() {
        condition.withLock {
            isStopped = true
            condition.broadcast()
        }
    }

    /// The line that tells from now on.
    func follow(_ line: ProgressLine) { condition.withLock { self.line = line } }

    /// Whether there is still something to tell after so long.
    private func waits(_ seconds: Double) -> Bool {
        let end = Date(timeIntervalSinceNow: seconds)
        return condition.withLock {
            while !isStopped, condition.wait(until: end) {}
            return !isStopped
        }
    }

    private func beat(_ context: StageContext) {
        let elapsed = start.distance(to: Date())
        guard let state = condition.withLock({ line })?.state else {
            return context.say(String(format: "at work for %.0f s", elapsed), ["seconds": elapsed])
        }
        context.say(state.text, state.fields.merging(["seconds": elapsed]) { $1 })
    }
}
