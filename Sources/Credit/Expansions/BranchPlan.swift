/// Where a group's rollouts are gone back into, and what a budget said to it.
package struct BranchPlan: Equatable, Sendable {
    /// Of each base, in order of position.
    package var states: [[ExpansionState]]
    /// Continuations that the method wanted and its budget did not pay for.
    package var unpaid = 0
    /// Rollouts sampled from the prompt itself, to fill a budget.
    package var fresh = 0
    /// Rollouts that a budget has left.
    package var unspent = 0

    package init(states: [[ExpansionState]]) { self.states = states }
}

/// Rollouts that a prompt may have in all, dealt out among branches; what is left goes on fresh rollouts.
struct BranchBudget {
    /// Rollouts that there may be beside those that there are.
    let branches: Int
    /// Fresh ones that are taken whatever branches there are.
    var reserved = 0
    let replicates: Int

    /// A branch that a method wants: answers of tools are met in order, and all rollouts' first ones before any's second.
    struct Candidate {
        let base: Int
        let turn: Int
        let state: ExpansionState
    }

    func spend(on candidates: [Candidate], in group: [BaseRollout]) -> BranchPlan {
        var plan = BranchPlan(states: group.map { _ in [] }), left = max(0, branches)
        for candidate in candidates.sorted(by: { ($0.turn, $0.base) < ($1.turn, $1.base) }) {
            guard left >= replicates else {
                plan.unpaid += replicates
                continue
            }
            plan.states[candidate.base].append(candidate.state)
            left -= replicates
        }
        plan.fresh = left + reserved
        guard plan.fresh > 0, let first = group.first else { return plan }
        plan.states[0].insert(ExpansionState(position: first.responseStart, replicates: plan.fresh), at: 0)
        return plan
    }
}
