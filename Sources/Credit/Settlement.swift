/// A plan in which everything is settled that spans rows: who is kept, in which step, where entropies are cut, what weighs how
/// much. What a row's tokens get follows from it and the row alone, so rows can be written in any number of pieces.
package struct SettledPlan: Sendable {
    package let kept: [KeptRow]
    package let groupNames: [String]
    package let facts: PlanFacts
    package let dropped: [(index: Int, reason: String)]
    package let resample: [String]
    /// Per scope that was masked, its threshold (one per step with scope `step`).
    package let thresholds: [Double]
    package let warnings: [String]
    /// Tokens of kept rows that the mask keeps, by row.
    package let keptTokens: [Int32]
    /// Tokens whose interval does not tell on which side of the threshold they lie.
    package let undecided: Int
    /// At 20, 50, 80 and 95 %, over trainable tokens; nil where no row has entropies.
    package let entropyQuantiles: [Double]?

    let policy: CreditPolicy
    let advantages: any KeptAdvantages
    let whitening: Whitening?
    let mask: SettledMask?
    /// By kept row; none where the plan was settled without.
    let weights: [RowWeight]

    /// What is read of rows beside masks.
    package var columns: Set<TokenColumn> {
        policy.columns.union(advantages.columns).union([.oldLogprobs, .rolloutLogprobs])
    }

    package var trainable: Int { kept.reduce(0) { $0 + Int(facts.rows[Int($1.row)].trainable) } }

    /// Credit of the kept rows at these positions, given their tokens.
    package func credits(_ positions: Range<Int>, _ inputs: [CreditInput]) throws -> [TokenCredit] {
        zip(zip(positions, inputs), try advantages.credits(positions, inputs)).map { credit($0.0, $0.1, $1) }
    }

    private func credit(_ position: Int, _ input: CreditInput, _ credit: EpisodeCredit) -> TokenCredit {
        let row = kept[position], weight = weights[position]
        var result = TokenCredit(
            index: Int(row.row), groupID: groupNames[Int(row.group)], step: Int(row.step), mask: input.mask, reward: facts.rows[Int(row.row)].reward,
            advantages: whitening?.apply(credit.advantages, input.mask) ?? credit.advantages, entropyMask: input.mask)
        result.returns = credit.returns
        result.pair = row.pair < 0 ? nil : Int(row.pair)
        if let shaping = policy.shaping { shape(&result.advantages, shaping, input) }
        if let mask { result.entropyMask = mask.marks(position, input) }
        result.weights = spread(weight.masked, result.entropyMask)
        result.unmaskedWeight = weight.unmasked
        correct(&result, input)
        return result
    }

    private func shape(_ advantages: inout [Double], _ shaping: EntropyShaping, _ input: CreditInput) {
        for t in input.mask.indices where input.mask[t] { advantages[t] = shaping.shaped(advantages[t], entropy: Double(input.entropy[t])) }
    }

    /// Weighs tokens by what trainer and sampler disagree about, and takes note of how much that is wherever both are known.
    private func correct(_ credit: inout TokenCredit, _ input: CreditInput) {
        guard let trainer = input.columns[.oldLogprobs], let sampler = input.columns[.rolloutLogprobs] else { return }
        var staleness = Staleness()
        staleness.add(trainer: trainer, sampler: sampler, mask: input.mask)
        credit.staleness = staleness
        guard policy.correction.isOn else { return }
        let factors = policy.correction.weights(trainer: trainer, sampler: sampler, mask: input.mask)
        for t in factors.indices { credit.weights[t] *= factors[t] }
    }

    /// What can be said only when all rows have been seen.
    package func closingWarnings(_ staleness: Staleness) -> [String] {
        guard policy.correction.isOn, staleness.largest == 0, staleness.tokens > 0 else { return [] }
        return ["old_logprobs are the sampler's own, so the correction does nothing: score with --checkpoint DIR, the policy to be trained"]
    }
}

/// Weight of every token of a row, with the entropy mask's denominator and without.
struct RowWeight: Sendable {
    var masked = 0.0
    var unmasked = 0.0
}

/// A mask whose thresholds are known.
struct SettledMask: Sendable {
    /// One per scope.
    let selectors: [any TokenSelector]
    let scopes: [Int32]
    /// Where marks depend on the rows before: the selector as each row finds it.
    var standing: [any TokenSelector] = []

    private func selector(_ position: Int) -> any TokenSelector { standing.isEmpty ? selectors[Int(scopes[position])] : standing[position] }

    /// Marks of the kept row at a position.
    func marks(_ position: Int, _ input: CreditInput) -> [Bool] {
        var selector = selector(position)
        return selector.marks(input.entropy, input.mask)
    }
}

/// Settles what follows once rows and their advantages stand: mask and weights. Tokens are gone through in passes, a piece at
/// a time; what is held meanwhile grows with rows alone.
struct Settlement {
    let policy: CreditPolicy
    let facts: PlanFacts
    let groupNames: [String]
    let selection: Selection
    let source: any TokenSource
    let seed: UInt64
    var advantages: any KeptAdvantages
    var whitening: Whitening?
    var warnings: [String]
    /// Whether weights are settled, which only rows that are written have.
    var weighs = true
    private let tokens: KeptTokens
    private var kept: [KeptRow] { selection.kept }

    init(policy: CreditPolicy, facts: PlanFacts, groupNames: [String], selection: Selection, source: any TokenSource, seed: UInt64) {
        (self.policy, self.facts, self.groupNames, self.selection, self.source, self.seed) = (policy, facts, groupNames, selection, source, seed)
        warnings = selection.warnings
        tokens = KeptTokens(selection.kept, facts, source)
        advantages =
            policy.advantage.readsTokens && policy.pairs == nil
            ? TokenAdvantages(estimator: policy.advantage, selection: selection, facts: facts, groups: facts.groups, source: source)
            : RewardAdvantages(kept: selection.kept, facts: facts)
    }

    private func fact(_ position: Int) -> PlanFacts.Row { facts.rows[Int(kept[position].row)] }

    var trainable: Int { kept.indices.reduce(0) { $0 + Int(fact($1).trainable) } }

    func run() throws -> SettledPlan {
        var keptTokens = kept.indices.map { fact($0).trainable }, warnings = warnings
        let scopes = policy.plannedMask.map { self.scopes($0.scope) } ?? Scopes([]) { _ in 0 }, plan = try quantilePlan(scopes)
        let mask = try policy.plannedMask.map { try settle($0, scopes, plan, &keptTokens, &warnings) }
        return SettledPlan(
            kept: kept, groupNames: groupNames, facts: facts, dropped: selection.dropped, resample: selection.resample, thresholds: mask?.thresholds ?? [],
            warnings: warnings, keptTokens: keptTokens, undecided: mask?.undecided ?? 0, entropyQuantiles: plan.report, policy: policy, advantages: advantages,
            whitening: whitening, mask: mask?.mask, weights: weighs ? weights(keptTokens) : [])
    }

    // MARK: entropies

    /// Scopes of a mask: numbers by kept row, in order of first appearance, and how many tokens each has.
    private struct Scopes {
        var numbers: [Int32] = []
        var counts: [Int] = []

        /// Rows with equal keys share a scope.
        init(_ keys: [Int32], _ trainable: (Int) -> Int32) {
            var known: [Int32: Int32] = [:], last: (key: Int32, number: Int32)?
            numbers.reserveCapacity(keys.count)
            for (position, key) in keys.enumerated() {
                // Rows of a scope mostly stand side by side.
                let number = last?.key == key ? last!.number : known[key] ?? Int32(counts.count)
                if number == counts.count {
                    known[key] = number
                    counts.append(0)
                }
                last = (key, number)
                numbers.append(number)
                counts[Int(number)] += Int(trainable(position))
            }
        }
    }

    private func scopes(_ scope: EntropyMask.Scope) -> Scopes {
        let keys: [Int32] =
            switch scope {
            case .plan: kept.map { _ in 0 }
            case .rollout: kept.indices.map { Int32($0) }
            case .step: kept.map(\.step)
            case .group: kept.map(\.group)
            }
        return Scopes(keys) { fact($0).trainable }
    }

    private static let reported = [0.2, 0.5, 0.8, 0.95]

    /// What is known of entropies as a whole.
    private struct EntropyRanks {
        /// Of the mask's scopes.
        var mask: [[OrderStatistic]] = []
        /// How rows lie about the cut of a mask over the whole plan.
        var around: RowsAroundCut?
        /// Quantiles over the whole plan.
        var report: [Double]?
    }

    /// Scopes that are the plan share passes with the report.
    private func quantilePlan(_ scopes: Scopes) throws -> EntropyRanks {
        let mask = policy.plannedMask.flatMap { $0.selection.type.readsEntropy ? $0 : nil }
        var ranks = EntropyRanks()
        if let mask, mask.scope != .plan { ranks.mask = try statistics(.entropy, scopes, populations(mask, scopes)) }
        let count = entropyCounts.reduce(0) { $0 + Int($1) }
        guard count > 0 else { return ranks }
        let own = mask.flatMap { $0.scope == .plan ? populations($0, scopes).first?.ranks : nil } ?? []
        try addWhole(count, own, &ranks)
        return ranks
    }

    /// `own`: ranks of a mask over the whole plan.
    private func addWhole(_ count: Int, _ own: [Int], _ ranks: inout EntropyRanks) throws {
        let places = Self.reported.map { QuantilePlace($0, of: count) }
        let wanted = (places.flatMap(\.ranks) + own).sorted(), rows = entropyCounts.map { (population: Int32(0), count: $0) }
        let selection = StreamedSelection(rows: rows, populations: [Population(count: count, ranks: wanted)])
        let found = try selection.run(tokens.column(.entropy), cut: own.compactMap { wanted.firstIndex(of: $0) })
        let byRank = Dictionary(zip(wanted, found.statistics[0])) { first, _ in first }
        ranks.report = places.map { place in place.value(place.ranks.compactMap { byRank[$0] }) }
        guard !own.isEmpty else { return }
        (ranks.mask, ranks.around) = ([own.compactMap { byRank[$0] }], found.around)
    }

    /// Trainable tokens of each kept row whose entropies are known.
    private var entropyCounts: [Int32] { kept.indices.map { fact($0).entropy == .none ? 0 : fact($0).trainable } }

    private func populations(_ mask: EntropyMask, _ scopes: Scopes) -> [Population] {
        scopes.counts.map { Population(count: $0, ranks: $0 == 0 ? [] : mask.selection.type.ranks(mask.selection.share, of: $0, ties: mask.ties)) }
    }

    private func statistics(_ column: TokenColumn, _ scopes: Scopes, _ populations: [Population]) throws -> [[OrderStatistic]] {
        let rows = zip(scopes.numbers, entropyCounts).map { (population: $0, count: $1) }
        return try StreamedSelection(rows: rows, populations: populations).run(tokens.column(column))
    }

    // MARK: mask

    private struct MaskOutcome {
        var mask: SettledMask
        var thresholds: [Double]
        var undecided = 0
    }

    private func settle(
        _ mask: EntropyMask, _ scopes: Scopes, _ ranks: EntropyRanks, _ keptTokens: inout [Int32], _ warnings: inout [String]
    ) throws -> MaskOutcome {
        let selectors = selectors(mask, scopes, ranks.mask)
        var outcome = MaskOutcome(mask: SettledMask(selectors: selectors, scopes: scopes.numbers), thresholds: selectors.compactMap(\.threshold))
        if mask.ties == .quantile, (mask.spelledOut.top ?? 1) < 1, outcome.thresholds.contains(0) { warnings.append(Self.zeroThreshold) }
        try count(mask, ranks.around, &outcome.mask, &keptTokens)
        if facts.hasIntervals, mask.selection.type.readsEntropy { outcome.undecided = try undecided(mask, scopes) }
        return outcome
    }

    private static let zeroThreshold =
        "so many entropies are exactly 0 that the threshold is 0 and every token of a scope is kept: use `ties: exact_count`"

    private func selectors(_ mask: EntropyMask, _ scopes: Scopes, _ statistics: [[OrderStatistic]]) -> [any TokenSelector] {
        let (type, share) = mask.selection
        return scopes.counts.enumerated().map { number, count in
            guard count > 0 else { return NothingToMark() }
            return type.selector(share, of: count, ties: mask.ties, statistics.isEmpty ? [] : statistics[number], seed: seed &+ UInt64(number))
        }
    }

    /// Tokens that the mask keeps, by row; and, where marks depend on earlier rows, how each row finds its selector.
    private func count(_ mask: EntropyMask, _ around: RowsAroundCut?, _ settled: inout SettledMask, _ keptTokens: inout [Int32]) throws {
        var running = settled.selectors, standing: [any TokenSelector] = []
        let remembers = running.contains(where: \.remembers)
        func take(_ position: Int, _ census: TokenCensus) {
            let scope = Int(settled.scopes[position])
            if remembers { standing.append(running[scope]) }
            keptTokens[position] = Int32(running[scope].count(census))
        }
        let selectors = settled.selectors, scopes = settled.scopes
        if let around {
            around.forEachRow(entropyCounts) { take($0, selectors[0].census($1, above: $2, below: $3)) }
        } else if mask.selection.type.readsEntropy {
            try tokens.forEachRow(reading: [.entropy]) {
                selectors[Int(scopes[$0])].census($1[0])
            } _: {
                take($0, $1)
            }
        } else {
            for position in kept.indices { take(position, TokenCensus(tokens: Int(fact(position).trainable))) }
        }
        settled.standing = standing
    }

    /// Tokens whose interval reaches over the true threshold, which lies between the cut of all lower and that of all upper bounds.
    private func undecided(_ mask: EntropyMask, _ scopes: Scopes) throws -> Int {
        let populations = populations(mask, scopes), type = mask.selection.type
        let cuts = try [TokenColumn.entropyLow, .entropyHigh].map { column in
            selectors(mask, scopes, try statistics(column, scopes, populations)).map { $0.threshold ?? 0 }
        }
        var total = 0
        try tokens.forEachRow(reading: [.entropyLow, .entropyHigh]) { position, bounds in
            let scope = Int(scopes.numbers[position]), (low, high) = (bounds[0], bounds[1])
            return low.indices.count { !type.isDecided(low: low[$0], high: high[$0], lowCut: cuts[0][scope], highCut: cuts[1][scope]) }
        } _: {
            total += $1
        }
        return total
    }

    // MARK: weights

    private func weights(_ keptTokens: [Int32]) -> [RowWeight] {
        let longest = policy.reward.overlong?.maxLength ?? kept.indices.map { Int(fact($0).trainable) }.max() ?? 0
        let steps = Groups(kept.map(\.step), count: Int(kept.map(\.step).max() ?? -1) + 1)
        var weights = [RowWeight](repeating: RowWeight(), count: kept.count)
        for step in 0..<steps.count {
            let rows = steps[step].map { Int($0) }, trainable = rows.map { Int(fact($0).trainable) }, kept = rows.map { Int(keptTokens[$0]) }
            let countsKept = policy.plannedMask?.normalizer == .kept
            let masked = policy.aggregation.weights(StepCounts(trainable: trainable, kept: kept, countsKept: countsKept, longest: longest))
            let unmasked = policy.aggregation.weights(StepCounts(trainable: trainable, kept: trainable, countsKept: false, longest: longest))
            for (place, row) in rows.enumerated() { weights[row] = RowWeight(masked: masked[place], unmasked: unmasked[place]) }
        }
        return weights
    }
}

/// The selector of a scope without tokens.
private struct NothingToMark: TokenSelector {
    var threshold: Double? { nil }
    var remembers: Bool { false }
    func marks(_ entropy: [Float], _ mask: [Bool]) -> [Bool] { mask.map { _ in false } }
    func census(_ entropy: UnsafeBufferPointer<Float>) -> TokenCensus { TokenCensus(tokens: entropy.count) }
    func census(_ near: UnsafeBufferPointer<Float>, above: Int, below: Int) -> TokenCensus { TokenCensus(tokens: near.count + above + below) }
    func count(_ row: TokenCensus) -> Int { 0 }
}

/// The second plan of an expansion: which of its credited rows are kept, and with what in place of the rows' own.
struct CreditedSelection {
    private(set) var selection = Selection()
    private(set) var facts: PlanFacts
    private(set) var groupNames: [String] = []
    private(set) var advantages: [[Double]] = []
    private(set) var masks: [[Bool]] = []
    private let policy: CreditPolicy

    init(policy: CreditPolicy, credited: ExpansionCredit, facts: PlanFacts, seed: UInt64) {
        (self.policy, self.facts) = (policy, facts)
        selection.dropped = credited.dropped.map { (index: $0.row, reason: $0.reason) }
        let groups = grouped(credited.rows.indices, by: { credited.rows[$0].groupID })
        let live = groups.map { alive($0.map { credited.rows[$0] }) }.filter { !$0.isEmpty }
        var rows: [(row: CreditedRow, kept: KeptRow)] = []
        for (number, (step, group)) in zip(policy.schedule.steps(groups: live.count, seed: seed), live).enumerated() {
            groupNames.append(group[0].groupID)
            rows += group.map { ($0, KeptRow(row: Int32($0.row), group: Int32(number), step: Int32(step), advantage: 0)) }
        }
        rows.sort { $0.row.row < $1.row.row }
        selection.kept = rows.map(\.kept)
        (advantages, masks) = (rows.map(\.row.advantages), rows.map(\.row.mask))
        for (row, _) in rows { self.facts.setReward(row.reward, of: row.row) }
        selection.dropped.sort { $0.index < $1.index }
    }

    /// Rows of a group that the filter leaves.
    private mutating func alive(_ rows: [CreditedRow]) -> [CreditedRow] {
        if policy.filter.degenerateGroups == .drop, rows.allSatisfy({ $0.advantages.allSatisfy { $0 == 0 } }) {
            selection.dropped += rows.map { ($0.row, "degenerate_group") }
            return []
        }
        return rows.filter { row in
            guard policy.filter.truncated == .drop, facts.rows[row.row].isTruncated else { return true }
            selection.dropped.append((row.row, "truncated"))
            return false
        }
    }
}
