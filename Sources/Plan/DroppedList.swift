import Credit
import Formats
import Scratch

/// Rows that are left out of a plan, in the order of its `dropped.arrow`.
protocol DroppedList {
    var count: Int { get }
    /// How often each reason was given.
    var counts: [String: Int] { get }
    func forEach(_ body: (DroppedRow) throws -> Void) throws
}

/// Rows of a dump, by those who left them out: the first pass, and the plan among the rows that it left.
struct DroppedFromDump: DroppedList {
    let firstPass: FirstPass
    /// nil: a plan of jobs alone, which leaves out no other.
    let plan: CreditPlan?
    let rollouts: ScoredRollouts

    private var space: ScratchSpace { firstPass.facts.space }
    private var late: Int { plan?.dropped.count ?? 0 }

    var count: Int { firstPass.dropped.count + late }
    var counts: [String: Int] {
        firstPass.dropped.counts(space).merging(plan?.dropped.counts(space) ?? [:], uniquingKeysWith: +)
    }

    func forEach(_ body: (DroppedRow) throws -> Void) throws {
        let reader = DroppedReader(rollouts)
        var (early, late) = (0, 0)
        try space.forEach(0..<count) { _ in
            let next = next(early, late)
            if next.isEarly { early += 1 } else { late += 1 }
            try body(try reader.read(next.row, next.reason))
        }
    }

    /// Both lists ascend.
    private func next(_ early: Int, _ late: Int) -> (row: Int32, reason: String, isEarly: Bool) {
        let first = early < firstPass.dropped.count ? firstPass.dropped[early] : nil,
            second = late < self.late ? plan?.dropped[late] : nil
        let row = second.map { firstPass.eligible[Int($0.row)] }
        if let first, row.map({ first.row < $0 }) ?? true { return (first.row, first.reason, true) }
        guard let second, let row else { preconditionFailure("one of the lists goes on") }
        return (row, second.reason, false)
    }
}

/// Those of an expansion's second plan: unusable results, results of no job, then what the plan left out.
struct DroppedFromExpansion: DroppedList {
    let firstPass: ExpandedFirstPass
    /// nil: a plan of the next round's jobs, which leaves out no more than what takes no part.
    let plan: CreditPlan?

    private var ofDump: [DroppedRows] { [firstPass.unusable, firstPass.unknown] }
    /// Rows that take no part, where no plan says so.
    private var idle: [(row: Int32, reason: String)] {
        guard plan == nil else { return [] }
        return (0..<firstPass.rows.count).compactMap { row in
            firstPass.dropReason(row).map { (Int32(row), $0.name) }
        }
    }

    var count: Int { ofDump.reduce(0) { $0 + $1.count } + (plan?.dropped.count ?? idle.count) }
    var counts: [String: Int] {
        let late =
            plan?.dropped.counts(firstPass.facts.space) ?? Dictionary(grouping: idle, by: \.reason).mapValues(\.count)
        return ofDump.reduce(into: late) { $0.merge($1.counts(firstPass.facts.space), uniquingKeysWith: +) }
    }

    func forEach(_ body: (DroppedRow) throws -> Void) throws {
        let rows = firstPass.rows, reader = DroppedReader(rows.rollouts)
        for list in ofDump { try list.entries.forEach { try body(try reader.read($0.row, $0.reason)) } }
        for (row, reason) in idle { try body(try read(row, reason, reader)) }
        guard let plan else { return }
        try firstPass.facts.space.forEach(0..<plan.dropped.count) { place in
            let (number, reason) = plan.dropped[place]
            try body(try read(number, reason, reader))
        }
    }

    private func read(_ number: Int32, _ reason: String, _ reader: DroppedReader) throws -> DroppedRow {
        let rows = firstPass.rows, base = Int(number) - rows.results.count
        return base < 0
            ? try reader.read(rows.results[Int(number)].row, reason)
            : DroppedRow(try rows.index.base(base).rollout, reason)
    }
}

/// Reads what `dropped.arrow` says of a row of the dump.
private struct DroppedReader {
    private let reader: RowReader

    init(_ rollouts: ScoredRollouts) {
        reader = RowReader(rollouts, columns: RowColumns(rollouts: ["rollout_id", "group_id"]))
    }

    func read(_ row: Int32, _ reason: String) throws -> DroppedRow {
        try reader.read([Int(row)]) { DroppedRow($0.rollout, reason) }[0]
    }
}

extension DroppedRow {
    init(_ rollout: RolloutRow, _ reason: String) {
        self.init()
        (rolloutID, groupID, self.reason) = (rollout.rolloutID, rollout.groupID, reason)
    }
}
