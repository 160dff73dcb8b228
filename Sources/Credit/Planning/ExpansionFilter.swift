import Scratch

/// Which of an expansion's credited rows are kept, and what is known of them then: the counterpart of `RolloutFilter`.
struct ExpansionFilter {
    let rows: FilteredRollouts
    /// Rewards and trainable tokens of credited rows are their credit's.
    let facts: RolloutFacts
    let advantages: TokenAdvantages

    init(recipe: CreditRecipe, credited: CreditedRows, facts: RolloutFacts, seed: UInt64) throws {
        let space = facts.space,
            groups = try Groups(space, of: credited.rows.count, in: credited.groupNames.count) {
                credited.rows[$0].group
            }
        var verdicts = Verdicts(credited, facts, recipe.filter)
        // By group: its place among those that stay; -1 where none of its rows does.
        let places = try ScratchTable<Int32>(space, count: groups.count)
        var live = 0
        for group in 0..<groups.count {
            let stays = verdicts.judge(groups[group])
            places[group] = stays ? Int32(live) : -1
            live += stays ? 1 : 0
            space.releasePages(after: groups[group].count)
        }
        self.facts = try facts.crediting(credited)
        let steps = recipe.schedule.steps(groups: live, seed: seed)
        var kept = ScratchWriter<PlannedRow>(space), dropped = DroppedRowsWriter(space, verdicts.reasons),
            advantages = ScratchWriter<TokenAdvantages.Place>(space)
        try space.forEach(facts.rows.indices) { row in
            if credited.dropped[row] > 0 { return try dropped.append(Int32(row), credited.dropped[row]) }
            guard let credit = credited[row] else { return }
            try kept.append(
                PlannedRow(
                    row: Int32(row), group: credit.group, step: Int32(steps[Int(places[Int(credit.group)])]),
                    advantage: 0))
            try advantages.append(credit.advantages)
        }
        rows = FilteredRollouts(kept: try kept.finish(), dropped: try dropped.finish())
        self.advantages = TokenAdvantages(
            places: try advantages.finish(), advantages: credited.advantages, returns: ScratchArray([]), space: space)
    }

    /// Leaves out what the recipe's filter doesn't want.
    private struct Verdicts {
        private let credited: CreditedRows
        private let facts: RolloutFacts
        private let filter: GroupFilter
        private(set) var reasons: DropReasons

        init(_ credited: CreditedRows, _ facts: RolloutFacts, _ filter: GroupFilter) {
            (self.credited, self.facts, self.filter, reasons) = (credited, facts, filter, credited.reasons)
        }

        /// Whether anybody of a group stays. `members`: by number among the credited rows.
        mutating func judge(_ members: [Int32]) -> Bool {
            let rows = members.map { credited.rows[Int($0)] },
                isDegenerate = filter.degenerateGroups == .drop && rows.allSatisfy(\.isZero)
            var stays = false
            for row in rows {
                if let reason = isDegenerate ? .degenerateGroup : dropReason(row) {
                    credited.dropped[Int(row.row)] = reasons.number(of: reason)
                } else {
                    stays = true
                }
            }
            return stays
        }

        private func dropReason(_ row: CreditedRows.Row) -> DropReason? {
            if facts.rows[Int(row.row)].isExcluded { return .excluded }
            if filter.truncated == .drop, facts.rows[Int(row.row)].isTruncated { return .truncated }
            return row.isFinite ? nil : .notFiniteAdvantage
        }
    }
}

extension RolloutFacts {
    /// The same where a credit says what a row is worth, and which of its tokens are trained on.
    fileprivate func crediting(_ credited: CreditedRows) throws -> RolloutFacts {
        try changing { rows in
            space.forEach(credited.rows.indices) {
                let credit = credited.rows[$0], row = Int(credit.row)
                (rows[row].reward, rows[row].trainable) = (credit.reward, credit.advantages.count)
            }
        }
    }
}
