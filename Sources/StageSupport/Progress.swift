import Foundation

/// One line on a terminal's stderr that tells how far the work is; silent when piped or quiet.
package final class ProgressLine: @unchecked Sendable {
    private let label: String
    private let total: Int
    private let visible: Bool
    private let start = Date()
    private let lock = NSLock()
    private var done = 0
    private var lastDrawn = Date.distantPast

    package init(_ context: StageContext, total: Int, unit: String) {
        label = "crux-\(context.stage): \(unit)"
        self.total = total
        visible = !context.options.quiet && isatty(STDERR_FILENO) == 1
    }

    package func advance(by count: Int = 1, note: String = "") {
        lock.withLock {
            done += count
            guard visible, done >= total || Date().timeIntervalSince(lastDrawn) > 0.2 else { return }
            lastDrawn = Date()
            let left = done == 0 ? 0 : start.distance(to: Date()) * Double(total - done) / Double(done)
            let text = "\r\(label) \(done)/\(total)  \(String(format: "%.0f s left", left))  \(note)\u{1B}[K" + (done >= total ? "\n" : "")
            FileHandle.standardError.write(Data(text.utf8))
        }
    }
}
