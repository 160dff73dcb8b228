import Randomness
import Scratch

/// Chooses the rows of a plan by facts alone; only an estimator that wants to know more of the whole plan looks at
/// tokens.
struct RolloutFilter {
    private let recipe: CreditRecipe
    private let facts: RolloutFacts
    private let source: any TokenSource
    private let seed: UInt64
    /// By row.
    private let verdicts: ScratchTable<Verdict>
    /// By group: whether the filter leaves it.
    private let isLive: ScratchTable<Bool>
    private var reasons = DropReasons()
    private var warnings: [String] = []
    /// How many groups get no advantages, by the reason.
    private var idle: [String: Int] = [:]

    /// What becomes of a row.
    private struct Verdict: BitwiseCopyable {
        /// Number of the reason why it is left out; 0: it isn't.
        var reason: Int32 = 0
        var advantage = 0.0
    }

    init(recipe: CreditRecipe, facts: RolloutFacts, source: any TokenSource, seed: UInt64) throws {
        (self.recipe, self.facts, self.source, self.seed) = (recipe, facts, source, seed)
        verdicts = try ScratchTable(facts.space, count: facts.rows.count)
        isLive = try ScratchTable(facts.space, count: facts.groups.count)
    }

    mutating func run() throws -> FilteredRollouts {
        try checkComponents()
        let resample = try filter(), (kept, figures) = try recipe.pairs.map { (try pair($0), [Double]()) } ?? compare()
        return FilteredRollouts(
            kept: kept, dropped: try dropped(), warnings: warnings, resample: resample, planFigures: figures)
    }

    /// A reward that nobody gave is a name that is wrong; one that some rows lack is said.
    private mutating func checkComponents() throws {
        for (name, missing) in zip(facts.components.names, facts.components.missing(facts.space)) where missing > 0 {
            guard missing < facts.rows.count else {
                throw MissingComponent(name: name)
            }
            warnings.append("\(missing) rollouts have no reward '\(name)', which counts 0 for them")
        }
    }

    private func rows(_ group: [Int32]) -> [RolloutFacts.Row] { group.map { facts.rows[Int($0)] } }

    private mutating func drop(_ row: Int32, _ reason: DropReason) {
        verdicts[Int(row)] = Verdict(reason: reasons.number(of: reason))
    }

    /// Marks the groups that stay, and returns the others.
    private mutating func filter() throws -> ScratchArray<Int32> {
        let (groups, resamples) = (facts.groups, recipe.filter.resamples)
        var left = ScratchWriter<Int32>(facts.space)
        try facts.space.forEach(0..<groups.count) { group in
            let members = resamples ? groups[group] : [], rows = rows(members)
            guard resamples,
                let reason = recipe.filter.dropReason(
                    correct: rows.map(\.correct), rewards: rows.map(\.reward), areEqual: facts.areEqual(members))
            else { return isLive[group] = true }
            members.forEach { drop($0, reason) }
            try left.append(Int32(group))
        }
        return try left.finish()
    }

    private func dropped() throws -> DroppedRows {
        var dropped = DroppedRowsWriter(facts.space, reasons)
        let count = reasons.all.isEmpty ? 0 : verdicts.count
        try facts.space.forEach(0..<count) {
            if verdicts[$0].reason > 0 { try dropped.append(Int32($0), verdicts[$0].reason) }
        }
        return try dropped.finish()
    }

    // MARK: groups

    /// Rollouts credited by the estimator, kept in dump order.
    private mutating func compare() throws -> (kept: ScratchArray<PlannedRow>, figures: [Double]) {
        let figures = try planFigures(), places = try ScratchTable<Int32>(facts.space, count: facts.groups.count)
        var trained = 0, singles = 0, kept = ScratchWriter<PlannedRow>(facts.space)
        for group in 0..<facts.groups.count where isLive[group] {
            let members = facts.groups[group]
            singles += members.count == 1 ? 1 : 0
            facts.space.releasePages(after: members.count)
            guard try judge(members, figures, group) else { continue }
            places[group] = Int32(trained)
            trained += 1
        }
        if singles > 0 { warnings.append("\(singles) groups have a single rollout: nothing to compare it with") }
        warnings += idle.sorted { $0.key < $1.key }.map { "\($0.value) groups \($0.key)" } + recipe.advantage.caveats
        let steps = recipe.schedule.steps(groups: trained, seed: seed)
        try facts.space.forEach(0..<facts.rows.count) { row in
            guard verdicts[row].reason == 0 else { return }
            let group = facts.rows[row].group, step = steps[Int(places[Int(group)])]
            try kept.append(
                PlannedRow(row: Int32(row), group: group, step: Int32(step), advantage: verdicts[row].advantage))
        }
        return (try kept.finish(), figures)
    }

    /// Advantages of a group's rollouts as far as rewards tell, and who drops out. Returns whether anybody stays.
    private mutating func judge(_ members: [Int32], _ figures: [Double], _ group: Int) throws -> Bool {
        let isZeroed = recipe.filter.zeroes(members, facts), outcomes = members.map { facts.outcome(Int($0)) }
        switch recipe.advantage.remark(outcomes) {
        case .refused(let found, let expected):
            throw CreditRefusal(group: facts.groupNames[group], found: found, expected: expected)
        case .idle(let reason): idle[reason, default: 0] += 1
        case nil: break
        }
        var stays = false
        for (row, advantage) in zip(members, recipe.advantage.advantages(outcomes, plan: figures)) {
            if let reason = dropReason(row, advantage) {
                drop(row, reason)
            } else {
                verdicts[Int(row)].advantage = isZeroed ? 0 : advantage ?? 0
                stays = true
            }
        }
        return stays
    }

    /// Why a rollout is left out that its group's filter leaves.
    private func dropReason(_ row: Int32, _ advantage: Double?) -> DropReason? {
        guard let advantage else { return type(of: recipe.advantage).dropReason }
        if facts.rows[Int(row)].isExcluded { return .excluded }
        if recipe.filter.truncated == .drop, facts.rows[Int(row)].isTruncated { return .truncated }
        return isFiniteInFloat32(advantage) ? nil : .notFiniteAdvantage
    }

    private func planFigures() throws -> [Double] {
        let estimator = recipe.advantage
        guard estimator.readsWholePlan else { return [] }
        let live = (0..<facts.groups.count).filter { isLive[$0] }
        var numbers: [Double] = []
        try source.inOrder(live.count) { index in
            let members = facts.groups[live[index]]
            guard estimator.readsTokens else {
                return estimator.planNumbers(members.map { Episode(facts, Int($0)) })
            }
            let inputs = try source.inputs(of: members[...], reading: recipe.advantageColumns)
            return estimator.planNumbers(zip(inputs, members).map { Episode($0, facts, Int($1)) })
        } _: {
            estimator.gather(&numbers, $1)
        }
        return estimator.planFigures(numbers)
    }

    // MARK: pairs

    private struct Pair: BitwiseCopyable {
        let group: Int32
        let chosen: Int32
        let rejected: Int32
    }

    /// Chosen and rejected responses side by side, advantages 1 and -1, a rollout once for each pair it is in.
    private mutating func pair(_ pairs: PreferencePairs) throws -> ScratchArray<PlannedRow> {
        var found = ScratchWriter<Pair>(facts.space), paired = 0, kept = ScratchWriter<PlannedRow>(facts.space)
        try facts.space.forEach(0..<facts.groups.count) { group in
            guard isLive[group] else { return }
            let made = self.pairs(group, pairs)
            for (chosen, rejected) in made {
                try found.append(Pair(group: Int32(group), chosen: chosen, rejected: rejected))
            }
            paired += made.isEmpty ? 0 : 1
        }
        let made = try found.finish(), steps = recipe.schedule.steps(groups: paired, seed: seed)
        var place = -1, last: Int32 = -1
        try facts.space.forEach(0..<made.count) { number in
            let pair = made[number]
            place += pair.group == last ? 0 : 1
            last = pair.group
            for (row, advantage) in [(pair.chosen, 1.0), (pair.rejected, -1.0)] {
                try kept.append(
                    PlannedRow(
                        row: row, group: pair.group, step: Int32(steps[place]), pair: Int32(number),
                        advantage: advantage))
            }
        }
        return try kept.finish()
    }

    private func takesPart(_ row: RolloutFacts.Row) -> Bool {
        !row.isExcluded && (recipe.filter.truncated == .keep || !row.isTruncated)
    }

    private mutating func pairs(_ group: Int, _ pairs: PreferencePairs) -> [(chosen: Int32, rejected: Int32)] {
        let all = facts.groups[group],
            members = all.filter { takesPart(facts.rows[Int($0)]) },
            rows = rows(members)
        // By the group's name, so that its pairs don't depend on where it stands in the dump.
        var random = SplitMix64(
            seed: facts.groupNames[group].utf8.reduce(seed) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 })
        let made = pairs.pairs(correct: rows.map(\.correct), lengths: rows.map { Int($0.trainable) }, random: &random)
            .map { (members[$0.chosen], members[$0.rejected]) }
        let used = Set(made.flatMap { [$0.0, $0.1] })
        for row in all where !used.contains(row) {
            let fact = facts.rows[Int(row)], lacksVerdict = fact.correct == nil
            drop(
                row,
                fact.isExcluded ? .excluded : !members.contains(row) ? .truncated : lacksVerdict ? .noVerdict : .noPair)
        }
        return made
    }
}

/// A reward that a recipe names and no rollout has.
package struct MissingComponent: Error, CustomStringConvertible {
    package let name: String

    package var description: String {
        "found no reward '\(name)' in any rollout, expected it for reward.components. Dump it in the metadata rewards, "
            + "a JSON object, or score again with --judge \(name)=COMMAND or a --reward-command that answers with it"
    }
}

/// Whether a table of float32 can hold a number.
func isFiniteInFloat32(_ value: Double) -> Bool { abs(value) <= Double(Float.greatestFiniteMagnitude) }

extension GroupFilter {
    /// Whether a group stays with advantage 0, since it has no contrast.
    func zeroes(_ members: [Int32], _ facts: RolloutFacts) -> Bool {
        guard degenerateGroups == .zero else { return false }
        if let areEqual = facts.areEqual(members) { return areEqual }
        let rows = members.map { facts.rows[Int($0)] }
        return Self.isDegenerate(correct: rows.map(\.correct), rewards: rows.map(\.reward))
    }
}

extension Episode {
    init(_ input: CreditInput, _ facts: RolloutFacts, _ row: Int) {
        self.init(
            reward: facts.rows[row].reward, correct: input.correct, mask: input.mask, tokenRewards: input.tokenRewards,
            columns: input.columns)
        (isGreedy, components) = (facts.rows[row].isGreedy, facts.components.rewards(row))
        if !input.entropy.isEmpty { columns[.entropy] = input.entropy }
        turnStates = input.turnStates
    }

    /// Without its tokens: all rewards in one.
    init(_ facts: RolloutFacts, _ row: Int) {
        self.init(reward: facts.rows[row].score, correct: facts.rows[row].correct, mask: [])
        (isGreedy, components) = (facts.rows[row].isGreedy, facts.components.rewards(row))
    }
}
