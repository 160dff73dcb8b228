/// Credit by the plain group advantage: all rollouts and continuations of a prompt are compared as GRPO does, and tokens
/// that several of them have in common count in each.
struct ComparedRows {
    let normalize: GRPO.Normalization

    func credit(_ group: [ExpandedBase]) -> [ExpansionCredit] {
        let rewards = group.flatMap(\.leafRewards)
        guard rewards.count > 1, !GroupFilter.areEqual(rewards) else { return group.map(\.degenerate) }
        var estimator = GRPO(), next = 0
        estimator.normalize = normalize
        let advantages = estimator.advantages(rewards: rewards).map { $0 ?? 0 }
        return group.map { expanded in
            var credit = ExpansionCredit()
            func add(_ row: Int, _ reward: Double, _ mask: [Bool]) {
                credit.rows.append(
                    CreditedRow(
                        row: row, groupID: expanded.base.groupID, reward: reward, mask: mask,
                        advantage: advantages[next]))
                next += 1
            }
            for (state, outcomes) in expanded.outcomes.enumerated() {
                for outcome in outcomes {
                    add(outcome.row, outcome.reward, expanded.mask(of: outcome, from: expanded.states[state]))
                }
            }
            if !expanded.isBaseRejected { add(expanded.row, expanded.base.reward, expanded.base.mask) }
            credit.values = expanded.outcomes.map { outcomes in
                outcomes.isEmpty ? nil : outcomes.reduce(0) { $0 + $1.reward } / Double(outcomes.count)
            }
            return credit
        }
    }

    /// Within a group there is nothing else to divide by.
    var problems: [String] {
        normalize == .std || normalize == .none
            ? [] : ["expansion.normalize is \(normalize.rawValue); expected std or none"]
    }
}

extension ExpandedBase {
    /// Rewards of all that came back, and the base's own where it isn't left out.
    var leafRewards: [Double] {
        outcomes.flatMap { $0.map(\.reward) } + (isBaseRejected ? [] : [base.reward])
    }

    /// Nothing to compare with.
    var degenerate: ExpansionCredit {
        var credit = ExpansionCredit()
        credit.values = outcomes.map { _ in nil }
        let rows = outcomes.flatMap { $0.map(\.row) } + (isBaseRejected ? [] : [row])
        credit.dropped = rows.map { ($0, .degenerateState) }
        return credit
    }

    /// A continuation's own tokens, and its base's before the cut.
    func mask(of outcome: Outcome, from state: ExpansionState) -> [Bool] {
        outcome.mask.indices.map { $0 < state.position ? base.mask[$0] : outcome.mask[$0] }
    }
}
