import Credit
import Formats

/// Rows that are left out of a plan, in the order of its `dropped.arrow`.
protocol DroppedList {
    var count: Int { get }
    /// How often each reason was given.
    var counts: [String: Int] { get }
    func forEach(_ body: (DroppedRow) throws -> Void) throws
}

extension [DroppedRow]: DroppedList {
    var counts: [String: Int] { reduce(into: [:]) { $0[$1.reason, default: 0] += 1 } }
}

/// Rows of a dump, by those who left them out: the survey, and the plan among the survey's own.
struct DroppedFromDump: DroppedList {
    let firstPass: FirstPass
    let plan: CreditPlan
    let rollouts: ScoredRollouts

    var count: Int { firstPass.dropped.count + plan.dropped.count }
    var counts: [String: Int] {
        firstPass.dropped.counts(plan.facts.space).merging(plan.dropped.counts(plan.facts.space), uniquingKeysWith: +)
    }

    func forEach(_ body: (DroppedRow) throws -> Void) throws {
        let reader = RowReader(rollouts, columns: RowColumns(rollouts: ["rollout_id", "group_id"]))
        var (early, late) = (0, 0)
        try plan.facts.space.forEach(0..<count) { _ in
            let next = next(early, late)
            if next.isEarly { early += 1 } else { late += 1 }
            _ = try reader.read([Int(next.row)]) { try body(DroppedRow($0.rollout, next.reason)) }
        }
    }

    /// Both lists ascend.
    private func next(_ early: Int, _ late: Int) -> (row: Int32, reason: String, isEarly: Bool) {
        let first = early < firstPass.dropped.count ? firstPass.dropped[early] : nil,
            second = late < plan.dropped.count ? plan.dropped[late] : nil
        let row = second.map { firstPass.eligible[Int($0.row)] }
        if let first, row.map({ first.row < $0 }) ?? true { return (first.row, first.reason, true) }
        guard let second, let row else { preconditionFailure("one of the lists goes on") }
        return (row, second.reason, false)
    }
}

extension DroppedRow {
    init(_ rollout: RolloutRow, _ reason: String) {
        self.init()
        (rolloutID, groupID, self.reason) = (rollout.rolloutID, rollout.groupID, reason)
    }
}
