import Foundation

/// One line that tells how far the work is: drawn again and again on a terminal, else written from time to time
/// (`Heartbeat`).
package final class ProgressLine: @unchecked Sendable {
    private let label: String
    private let unit: String
    private let total: Int
    private let visible: Bool
    private let start = Date()
    private let lock = NSLock()
    private var done: Int
    /// Share of the work that an earlier run had done: no time of this one went into it.
    private let shareBefore: Double
    private var part = 0.0
    private var note = ""
    private var lastDrawn = Date.distantPast

    /// `done`: units finished by an earlier run.
    package init(_ context: StageContext, total: Int, unit: String, done: Int = 0) {
        label = "crux-\(context.stage): \(unit)"
        self.unit = unit
        self.total = total
        self.done = done
        shareBefore = Double(done) / Double(max(1, total))
        visible = !context.options.quiet && isatty(STDERR_FILENO) == 1
        context.heartbeat.follow(self)
    }

    package func advance(by count: Int = 1, note: String = "") {
        lock.withLock {
            done += count
            draw(part: 0, note)
        }
    }

    /// A share of the unit at hand is done.
    package func update(part: Double, note: String) { lock.withLock { draw(part: part, note) } }

    /// `shards 3/40, 12 s left`, and its parts.
    var state: (text: String, fields: [String: any Sendable]) {
        lock.withLock {
            var fields: [String: any Sendable] = ["done": done, "total": total, "unit": unit]
            fields["seconds_left"] = secondsLeft
            return ("\(unit) \(done)/\(total), \(left)" + (note.isEmpty ? "" : ", \(note)"), fields)
        }
    }

    private func draw(part: Double, _ note: String) {
        (self.part, self.note) = (part, note)
        guard visible, done >= total || Date().timeIntervalSince(lastDrawn) > 0.2 else { return }
        lastDrawn = Date()
        StandardStreams.write(
            "\r\(label) \(done)/\(total)  \(left)  \(note)\u{1B}[K" + (done >= total ? "\n" : ""), to: STDERR_FILENO)
    }

    private var left: String { secondsLeft.map { String(format: "%.0f s left", $0) } ?? "… left" }

    private var secondsLeft: Double? {
        let share = (Double(done) + part) / Double(max(1, total))
        guard share > shareBefore else { return nil }
        return start.distance(to: Date()) * (1 - share) / (share - shareBefore)
    }
}
