import Dispatch
import Foundation

/// A line every 30 s that tells how far a run is, where stderr is no terminal: a log shall show that it is alive.
/// Another number of seconds stands in CRUX_PROGRESS_SECONDS.
final class Heartbeat: @unchecked Sendable {
    private let lock = NSLock()
    private let start = Date()
    private var timer: (any DispatchSourceTimer)?
    private weak var line: ProgressLine?

    func start(_ context: StageContext) {
        guard !context.options.quiet, isatty(STDERR_FILENO) != 1 else { return }
        let said = ProcessInfo.processInfo.environment["CRUX_PROGRESS_SECONDS"].flatMap { Double($0) },
            seconds = said.map { max(0.05, $0) } ?? 30
        guard seconds.isFinite else { return }
        let timer = DispatchSource.makeTimerSource(queue: .global())
        timer.schedule(deadline: .now() + seconds, repeating: seconds)
        timer.setEventHandler { [unowned self, unowned context] in beat(context) }
        timer.resume()
        lock.withLock { self.timer = timer }
    }

    func stop() {
        lock.withLock {
            timer?.cancel()
            timer = nil
        }
    }

    /// The line that tells from now on.
    func follow(_ line: ProgressLine) { lock.withLock { self.line = line } }

    private func beat(_ context: StageContext) {
        let elapsed = start.distance(to: Date())
        guard let state = lock.withLock({ line })?.state else {
            return context.say(String(format: "at work for %.0f s", elapsed), ["seconds": elapsed])
        }
        context.say(state.text, state.fields.merging(["seconds": elapsed]) { $1 })
    }
}
