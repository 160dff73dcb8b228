import Randomness

/// A rollout that is to be trained on, before anybody has looked at its tokens.
package struct KeptRow: Sendable {
    /// Index into the rows of the plan.
    package let row: Int32
    package let group: Int32
    package let step: Int32
    /// Number of its pair; -1 where it is in none.
    package var pair: Int32 = -1
    /// Of every token, where rewards alone decide.
    package let advantage: Double
}

/// What filter, estimator and schedule make of a dump: who is kept, in the order of the plan's rows, and why others are not.
struct Selection {
    var kept: [KeptRow] = []
    var dropped: [(index: Int, reason: String)] = []
    var warnings: [String] = []
    var resample: [String] = []
    /// Groups without contrast that stay with advantage 0.
    var zeroed: Set<Int32> = []
    /// What the estimator knows of the plan as a whole.
    var planScale = 1.0
}

/// Chooses the rows of a plan by facts alone; only an estimator that wants to know more of the whole plan looks at tokens.
struct RowSelection {
    let policy: CreditPolicy
    let facts: PlanFacts
    let source: any TokenSource
    let seed: UInt64

    private func rows(_ group: ArraySlice<Int32>) -> [PlanFacts.Row] { group.map { facts.rows[Int($0)] } }

    func run() throws -> Selection {
        var selection = Selection()
        let groups = facts.groups, live = keptGroups(groups, &selection)
        if let pairs = policy.pairs { pair(live, groups, pairs, &selection) } else { try compare(live, groups, &selection) }
        selection.dropped.sort { $0.index < $1.index }
        return selection
    }

    /// Numbers of the groups that the filter leaves.
    private func keptGroups(_ groups: Groups, _ selection: inout Selection) -> [Int] {
        guard policy.filter.resamples else { return Array(0..<groups.count) }
        return (0..<groups.count).filter { group in
            let rows = rows(groups[group])
            guard let reason = policy.filter.dropReason(correct: rows.map(\.correct), rewards: rows.map(\.reward)) else { return true }
            selection.dropped += groups[group].map { (Int($0), reason) }
            selection.resample.append(facts.groupNames[group])
            return false
        }
    }

    // MARK: groups

    /// Rollouts credited by the estimator, kept in dump order.
    private func compare(_ live: [Int], _ groups: Groups, _ selection: inout Selection) throws {
        let singles = live.count { groups[$0].count == 1 }
        if singles > 0 { selection.warnings.append("\(singles) groups have a single rollout: nothing to compare it with") }
        selection.planScale = try planScale(live, groups)
        var advantages = [Double?](repeating: nil, count: facts.rows.count)
        for group in live { judge(group, groups[group], &advantages, &selection) }
        let trained = live.filter { groups[$0].contains { advantages[Int($0)] != nil } }
        var stepOf = [Int32](repeating: -1, count: groups.count)
        for (group, step) in zip(trained, policy.schedule.steps(groups: trained.count, seed: seed)) { stepOf[group] = Int32(step) }
        selection.kept.reserveCapacity(advantages.count { $0 != nil })
        for (index, advantage) in advantages.enumerated() {
            guard let advantage else { continue }
            let group = facts.rows[index].group
            selection.kept.append(KeptRow(row: Int32(index), group: group, step: stepOf[Int(group)], advantage: advantage))
        }
    }

    /// Advantages of a group's rollouts as far as rewards tell, and who drops out.
    private func judge(_ group: Int, _ members: ArraySlice<Int32>, _ advantages: inout [Double?], _ selection: inout Selection) {
        let isZeroed = policy.filter.degenerateGroups == .zero && isDegenerate(rows(members))
        if isZeroed { selection.zeroed.insert(Int32(group)) }
        let scores = members.map { facts.rows[Int($0)].score }
        for (index, advantage) in zip(members, policy.advantage.advantages(rewards: scores, planScale: selection.planScale)) {
            if advantage == nil {
                selection.dropped.append((Int(index), type(of: policy.advantage).dropReason))
            } else if policy.filter.truncated == .drop, facts.rows[Int(index)].isTruncated {
                selection.dropped.append((Int(index), "truncated"))
            } else {
                advantages[Int(index)] = isZeroed ? 0 : advantage
            }
        }
    }

    private func isDegenerate(_ rows: [PlanFacts.Row]) -> Bool { GroupFilter.isDegenerate(correct: rows.map(\.correct), rewards: rows.map(\.reward)) }

    private func planScale(_ live: [Int], _ groups: Groups) throws -> Double {
        let estimator = policy.advantage
        guard estimator.surveysPlan else { return 1 }
        guard estimator.readsTokens else {
            return estimator.planScale(live.flatMap { estimator.planNumbers(rows(groups[$0]).map { Episode(reward: $0.score, mask: []) }) })
        }
        var numbers: [Double] = []
        try source.inOrder(live.count) { index in
            let members = groups[live[index]], inputs = try source.inputs(of: members, reading: estimator.columns)
            return estimator.planNumbers(zip(inputs, rows(members)).map { Episode($0, reward: $1.reward) })
        } _: {
            numbers += $1
        }
        return estimator.planScale(numbers)
    }

    // MARK: pairs

    /// Chosen and rejected responses side by side, advantages 1 and -1, a rollout once for each pair it is in.
    private func pair(_ live: [Int], _ groups: Groups, _ pairs: PreferencePairs, _ selection: inout Selection) {
        let found = live.map { (group: $0, made: self.pairs(groups[$0], pairs, &selection)) }.filter { !$0.made.isEmpty }
        var number: Int32 = 0
        for (step, (group, made)) in zip(policy.schedule.steps(groups: found.count, seed: seed), found) {
            for (chosen, rejected) in made {
                for (row, advantage) in [(chosen, 1.0), (rejected, -1.0)] {
                    selection.kept.append(KeptRow(row: row, group: Int32(group), step: Int32(step), pair: number, advantage: advantage))
                }
                number += 1
            }
        }
    }

    private func pairs(_ group: ArraySlice<Int32>, _ pairs: PreferencePairs, _ selection: inout Selection) -> [(chosen: Int32, rejected: Int32)] {
        let members = group.filter { policy.filter.truncated == .keep || !facts.rows[Int($0)].isTruncated }, rows = rows(members[...])
        // By the group's name, so that its pairs don't depend on where it stands in the dump.
        let name = group.first.map { facts.groupNames[Int(facts.rows[Int($0)].group)] } ?? ""
        var random = SplitMix64(seed: name.utf8.reduce(seed) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 })
        let made = pairs.pairs(correct: rows.map(\.correct), lengths: rows.map { Int($0.trainable) }, random: &random).map { (members[$0.chosen], members[$0.rejected]) }
        let used = Set(made.flatMap { [$0.0, $0.1] })
        selection.dropped += group.filter { !used.contains($0) }.map { (Int($0), members.contains($0) ? "no_pair" : "truncated") }
        return made
    }
}

extension Episode {
    init(_ input: CreditInput, reward: Double) {
        self.init(reward: reward, correct: input.correct, mask: input.mask, tokenRewards: input.tokenRewards, columns: input.columns)
    }
}
