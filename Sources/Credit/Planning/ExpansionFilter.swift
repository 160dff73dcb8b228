import Scratch

/// The second plan of an expansion: which of its credited rows are kept, and with what in place of the rows' own.
struct ExpansionFilter {
    let selection: FilteredRollouts
    let facts: RolloutFacts
    let groupNames: InternedStrings
    let advantages: [[Double]]
    let masks: [[Bool]]

    init(recipe: CreditRecipe, credited: ExpansionCredit, facts: RolloutFacts, seed: UInt64) throws {
        var dropped = credited.dropped.map { (index: $0.row, reason: $0.reason) }
        let groups = grouped(credited.rows.indices, by: { credited.rows[$0].groupID })
        let live = groups.map { Self.alive($0.map { credited.rows[$0] }, recipe.filter, facts, &dropped) }.filter {
            !$0.isEmpty
        }
        let steps = recipe.schedule.steps(groups: live.count, seed: seed)
        var rows = live.enumerated().flatMap { number, group in
            group.map {
                (
                    row: $0,
                    kept: PlannedRow(row: Int32($0.row), group: Int32(number), step: Int32(steps[number]), advantage: 0)
                )
            }
        }
        rows.sort { $0.row.row < $1.row.row }
        selection = FilteredRollouts(kept: ScratchArray(rows.map(\.kept)), dropped: DroppedRows(dropped))
        (advantages, masks) = (rows.map(\.row.advantages), rows.map(\.row.mask))
        groupNames = InternedStrings(live.map { $0[0].groupID })
        self.facts = try facts.with(rewards: rows.map { ($0.row.row, $0.row.reward) })
    }

    /// Rows of a group that the filter leaves.
    private static func alive(
        _ rows: [CreditedRow], _ filter: GroupFilter, _ facts: RolloutFacts,
        _ dropped: inout [(index: Int, reason: String)]
    ) -> [CreditedRow] {
        if filter.degenerateGroups == .drop, rows.allSatisfy({ $0.advantages.allSatisfy { $0 == 0 } }) {
            dropped += rows.map { ($0.row, "degenerate_group") }
            return []
        }
        return rows.filter { row in
            let isCutOff = filter.truncated == .drop && facts.rows[row.row].isTruncated
            let reason =
                isCutOff ? "truncated" : row.advantages.allSatisfy(isFiniteInFloat32) ? nil : "not_finite_advantage"
            if let reason { dropped.append((row.row, reason)) }
            return reason == nil
        }
    }
}
