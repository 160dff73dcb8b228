import Formats

/// Rows of a file that is a queue, written again while they stand in it. The n-th of equal rows of one step is the n-th
/// of a later step once more, so both get one name, and the later one is a repetition.
struct QueuedRows {
    private var step = ""
    private var seen: [String: Int] = [:]

    init() {}

    /// Rows come in the order of the file, a step's one behind the other.
    mutating func name(_ row: QueuedRow) -> String {
        if row.step != step { (step, seen) = (row.step, [:]) }
        let number = seen[row.digest, default: 0]
        seen[row.digest] = number + 1
        return "row-\(row.digest)-\(number)"
    }
}

extension Outcome {
    /// The name of an accepted row of a queue; nil of everything else.
    func nameQueued(_ rows: inout QueuedRows) -> String? {
        guard case .accepted(let found) = self, let row = found.queued else { return nil }
        return rows.name(row)
    }

    mutating func rename(_ name: String) {
        guard case .accepted(var found) = self else { return }
        found.row.rolloutID = name
        self = .accepted(found)
    }
}
