import Foundation

/// One line on a terminal's stderr that tells how far the work is; silent when piped or quiet.
package final class ProgressLine: @unchecked Sendable {
    private let label: String
    private let total: Int
    private let visible: Bool
    private let start = Date()
    private let lock = NSLock()
    private var done: Int
    /// Share of the work that an earlier run had done: no time of this one went into it.
    private let shareBefore: Double
    private var lastDrawn = Date.distantPast

    /// `done`: units finished by an earlier run.
    package init(_ context: StageContext, total: Int, unit: String, done: Int = 0) {
        label = "crux-\(context.stage): \(unit)"
        self.total = total
        self.done = done
        shareBefore = Double(done) / Double(max(1, total))
        visible = !context.options.quiet && isatty(STDERR_FILENO) == 1
    }

    package func advance(by count: Int = 1, note: String = "") {
        lock.withLock {
            done += count
            draw(part: 0, note)
        }
    }

    /// A share of the unit at hand is done.
    package func update(part: Double, note: String) { lock.withLock { draw(part: part, note) } }

    private func draw(part: Double, _ note: String) {
        guard visible, done >= total || Date().timeIntervalSince(lastDrawn) > 0.2 else { return }
        lastDrawn = Date()
        let text = "\r\(label) \(done)/\(total)  \(left(share: (Double(done) + part) / Double(max(1, total))))  \(note)\u{1B}[K" + (done >= total ? "\n" : "")
        FileHandle.standardError.write(Data(text.utf8))
    }

    private func left(share: Double) -> String {
        guard share > shareBefore else { return "… left" }
        return String(format: "%.0f s left", start.distance(to: Date()) * (1 - share) / (share - shareBefore))
    }
}
