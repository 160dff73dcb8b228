import Quantiles
import Scratch

/// A plan in which everything is decided that spans rows: who is kept, in which step, where entropies are cut, what
/// weighs how much. What a row's tokens get follows from it and the row alone, so rows can be written in any number of
/// pieces.
package struct CreditPlan: Sendable {
    package let kept: ScratchArray<PlannedRow>
    package let groupNames: InternedStrings
    package let facts: RolloutFacts
    package let dropped: DroppedRows
    /// Groups that gave no contrast, by their number among the facts.
    package let resample: ScratchArray<Int32>
    /// Per scope that was masked, its threshold (one per step with scope `step`).
    package let thresholds: [Double]
    package let warnings: [String]
    /// Tokens of kept rows that the mask keeps, by row.
    package let keptTokens: ScratchArray<Int32>
    /// Tokens whose interval does not tell on which side of the threshold they lie, and how many of each row; empty
    /// where there are no intervals.
    package let undecided: Int
    package let undecidedByRow: ScratchArray<Int32>
    /// At 20, 50, 80 and 95 %, over trainable tokens; nil where no row has entropies.
    package let entropyQuantiles: [Double]?

    let recipe: CreditRecipe
    let advantages: any KeptAdvantages
    let whitening: Whitening?
    let mask: PlannedMask?
    /// By step.
    let steps: [StepCounts]

    /// What is read of rows beside masks.
    package var columns: Set<TokenColumn> {
        recipe.columns.union(advantages.columns).union([.oldLogprobs, .rolloutLogprobs])
    }

    /// Tokens to train on, over all kept rows.
    package var trainable: Int { steps.reduce(0) { $0 + $1.trainable } }

    /// Credit of the kept rows at these positions, given their tokens.
    package func credits(_ positions: Range<Int>, _ inputs: [CreditInput]) throws -> [TokenCredit] {
        zip(zip(positions, inputs), try advantages.credits(positions, inputs)).map { credit($0.0, $0.1, $1) }
    }

    private func credit(_ position: Int, _ input: CreditInput, _ credit: EpisodeCredit) -> TokenCredit {
        let row = kept[position], step = steps[Int(row.step)], trainable = Int(facts.rows[Int(row.row)].trainable)
        var result = TokenCredit(
            index: Int(row.row), groupID: groupNames[Int(row.group)], step: Int(row.step), mask: input.mask,
            reward: facts.rows[Int(row.row)].reward,
            advantages: whitening?.apply(credit.advantages, input.mask) ?? credit.advantages, entropyMask: input.mask)
        result.returns = credit.returns
        result.pair = row.pair < 0 ? nil : Int(row.pair)
        if let shaping = recipe.shaping { shape(&result.advantages, shaping, input) }
        if let mask { result.entropyMask = mask.marks(position, input) }
        result.weights = spread(recipe.aggregation.weight(trainable: trainable, in: step), result.entropyMask)
        let klAggregation = recipe.expansion?.klAggregation ?? recipe.aggregation
        result.unmaskedWeight = klAggregation.weight(trainable: trainable, in: step.unmasked)
        correct(&result, input)
        return result
    }

    private func shape(_ advantages: inout [Double], _ shaping: EntropyShaping, _ input: CreditInput) {
        for t in input.mask.indices where input.mask[t] {
            advantages[t] = shaping.shaped(advantages[t], entropy: Double(input.entropy[t]))
        }
    }

    /// Weighs tokens by what trainer and sampler disagree about, and takes note of how much that is wherever both are
    /// known.
    private func correct(_ credit: inout TokenCredit, _ input: CreditInput) {
        guard let trainer = input.columns[.oldLogprobs], let sampler = input.columns[.rolloutLogprobs] else { return }
        var staleness = Staleness()
        staleness.add(trainer: trainer, sampler: sampler, mask: input.mask)
        credit.staleness = staleness
        guard recipe.correction.isOn else { return }
        let factors = recipe.correction.weights(trainer: trainer, sampler: sampler, mask: input.mask)
        for t in factors.indices { credit.weights[t] *= factors[t] }
    }

    /// What can be said only when all rows have been seen.
    package func closingWarnings(_ staleness: Staleness) -> [String] {
        guard recipe.correction.isOn, staleness.largest == 0, staleness.tokens > 0 else { return [] }
        return [
            "old_logprobs are the sampler's own, so the correction does nothing: score with --checkpoint DIR, the policy to be trained"
        ]
    }
}

/// A mask whose thresholds are known.
struct PlannedMask: Sendable {
    /// One per scope.
    let selectors: [any TokenSelector]
    let scopes: Scopes
    /// Where marks depend on the rows before: what the selector knows as each row finds it.
    var standing: ScratchArray<SelectorMemory>?

    /// Marks of the kept row at a position.
    func marks(_ position: Int, _ input: CreditInput) -> [Bool] {
        var selector = selectors[scopes.number(position)]
        if let standing { selector.memory = standing[position] }
        return selector.marks(input.entropy, input.mask)
    }
}

/// Decides what follows once rows and their advantages are known: mask and weights. Tokens are gone through in passes, a
/// piece at a time; what is held meanwhile grows with rows alone.
struct PlanBuilder {
    let recipe: CreditRecipe
    let facts: RolloutFacts
    let groupNames: InternedStrings
    let selection: FilteredRollouts
    let source: any TokenSource
    let seed: UInt64
    var advantages: any KeptAdvantages
    var whitening: Whitening?
    var warnings: [String]
    private let tokens: KeptTokens
    private var kept: ScratchArray<PlannedRow> { selection.kept }

    init(
        recipe: CreditRecipe, facts: RolloutFacts, groupNames: InternedStrings, selection: FilteredRollouts,
        source: any TokenSource,
        seed: UInt64
    ) {
        (self.recipe, self.facts, self.groupNames, self.selection, self.source, self.seed) = (
            recipe, facts, groupNames, selection, source, seed
        )
        warnings = selection.warnings
        tokens = KeptTokens(selection.kept, facts, source)
        advantages =
            recipe.advantage.readsTokens && recipe.pairs == nil
            ? TokenAdvantages(
                estimator: recipe.advantage, filter: recipe.filter, selection: selection, facts: facts, source: source)
            : RewardAdvantages(kept: selection.kept, facts: facts)
    }

    private func fact(_ position: Int) -> RolloutFacts.Row { facts.rows[Int(kept[position].row)] }

    func run() throws -> CreditPlan {
        var warnings = warnings
        let scopes = recipe.plannedMask.map { Scopes($0.scope, kept, facts) }, ranks = try entropyRanks(scopes)
        let mask = try recipe.plannedMask.flatMap { mask in try scopes.map { try plan(mask, $0, ranks, &warnings) } }
        let keptTokens = try mask?.keptTokens ?? trainableTokens()
        return CreditPlan(
            kept: kept, groupNames: groupNames, facts: facts, dropped: selection.dropped, resample: selection.resample,
            thresholds: mask?.thresholds ?? [],
            warnings: warnings, keptTokens: keptTokens, undecided: mask?.undecided ?? 0,
            undecidedByRow: try mask?.undecidedByRow ?? emptyList(), entropyQuantiles: ranks.report, recipe: recipe,
            advantages: advantages,
            whitening: whitening, mask: mask?.mask, steps: steps(keptTokens))
    }

    private func emptyList() throws -> ScratchArray<Int32> {
        var list = ScratchWriter<Int32>(facts.space)
        return try list.finish()
    }

    private func trainableTokens() throws -> ScratchArray<Int32> {
        var tokens = ScratchWriter<Int32>(facts.space)
        try facts.space.forEach(kept.indices) { try tokens.append(fact($0).trainable) }
        return try tokens.finish()
    }

    // MARK: entropies

    private static let reported: [Share] = [0.2, 0.5, 0.8, 0.95]

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
    private func entropyRanks(_ scopes: Scopes?) throws -> EntropyRanks {
        let mask = recipe.plannedMask.flatMap { $0.selection.type.readsEntropy ? $0 : nil }
        var ranks = EntropyRanks(), own: [Int] = []
        if let mask, let scopes {
            let populations = populations(mask, scopes)
            if mask.scope == .plan {
                own = populations.first?.ranks ?? []
            } else {
                ranks.mask = try statistics(.entropy, scopes, populations)
            }
        }
        let count = tokens.entropies.reduce(0, +)
        if count > 0 { try addWhole(count, own, &ranks) }
        return ranks
    }

    /// `own`: ranks of a mask over the whole plan.
    private func addWhole(_ count: Int, _ own: [Int], _ ranks: inout EntropyRanks) throws {
        let places = Self.reported.map { QuantilePlace($0, of: count) },
            wanted = (places.flatMap(\.ranks) + own).sorted()
        let selection = StreamingQuantiles(
            rows: rows { _ in 0 }, populations: [Population(count: count, ranks: wanted)], space: facts.space)
        let found = try selection.run(tokens.column(.entropy), cut: own.compactMap { wanted.firstIndex(of: $0) })
        let byRank = Dictionary(zip(wanted, found.statistics[0])) { first, _ in first }
        ranks.report = places.map { place in place.value(place.ranks.compactMap { byRank[$0] }) }
        guard !own.isEmpty else { return }
        (ranks.mask, ranks.around) = ([own.compactMap { byRank[$0] }], found.around)
    }

    private func rows(_ population: @escaping @Sendable (Int) -> Int) -> StreamedRows {
        StreamedRows(count: kept.count, population: population) { [kept, rows = facts.rows] in
            rows[Int(kept[$0].row)].entropies
        }
    }

    private func populations(_ mask: EntropyMask, _ scopes: Scopes) -> [Population] {
        scopes.counts.map {
            Population(
                count: $0,
                ranks: $0 == 0 ? [] : mask.selection.type.ranks(mask.selection.share, of: $0, ties: mask.ties))
        }
    }

    private func statistics(_ column: TokenColumn, _ scopes: Scopes, _ populations: [Population]) throws
        -> [[OrderStatistic]]
    {
        try StreamingQuantiles(rows: rows(scopes.number), populations: populations, space: facts.space).run(
            tokens.column(column))
    }

    // MARK: mask

    private struct MaskOutcome {
        var mask: PlannedMask
        var thresholds: [Double]
        /// Tokens that it keeps, by row.
        var keptTokens: ScratchArray<Int32>
        var undecided = 0
        /// By row, where there are intervals.
        var undecidedByRow: ScratchArray<Int32>?
    }

    private func plan(_ mask: EntropyMask, _ scopes: Scopes, _ ranks: EntropyRanks, _ warnings: inout [String]) throws
        -> MaskOutcome
    {
        let selectors = selectors(mask, scopes, ranks.mask), thresholds = selectors.compactMap(\.threshold)
        if mask.ties == .quantile, (mask.spelledOut.top ?? 1).value < 1, thresholds.contains(0) {
            warnings.append(Self.zeroThreshold)
        }
        let (keptTokens, standing) = try count(mask, ranks.around, selectors, scopes)
        let planned = PlannedMask(selectors: selectors, scopes: scopes, standing: standing)
        var outcome = MaskOutcome(mask: planned, thresholds: thresholds, keptTokens: keptTokens)
        if facts.hasIntervals, mask.selection.type.readsEntropy { try addUndecided(mask, scopes, &outcome) }
        return outcome
    }

    private static let zeroThreshold =
        "so many entropies are exactly 0 that the threshold is 0 and every token of a scope is kept: use `ties: exact_count`"

    private func selectors(_ mask: EntropyMask, _ scopes: Scopes, _ statistics: [[OrderStatistic]])
        -> [any TokenSelector]
    {
        let (type, share) = mask.selection
        return scopes.counts.enumerated().map { number, count in
            guard count > 0 else { return NothingToMark() }
            return type.selector(
                share, of: count, ties: mask.ties, statistics.isEmpty ? [] : statistics[number],
                seed: seed &+ UInt64(number))
        }
    }

    /// Tokens that the mask keeps, by row; and, where marks depend on earlier rows, how each row finds its selector.
    private func count(
        _ mask: EntropyMask, _ around: RowsAroundCut?, _ selectors: [any TokenSelector], _ scopes: Scopes
    ) throws -> (kept: ScratchArray<Int32>, standing: ScratchArray<SelectorMemory>?) {
        var running = selectors, kept = ScratchWriter<Int32>(facts.space),
            standing = ScratchWriter<SelectorMemory>(facts.space)
        let remembers = selectors.contains { $0.memory != nil }
        func take(_ position: Int, _ census: TokenCensus) throws {
            let scope = scopes.number(position)
            if remembers { try standing.append(running[scope].memory ?? SelectorMemory(left: 0)) }
            try kept.append(Int32(running[scope].count(census)))
        }
        if let around {
            try around.forEachRow(facts.space, { fact($0).entropies }) {
                try take($0, selectors[0].census($1, above: $2, below: $3))
            }
        } else if mask.selection.type.readsEntropy {
            try tokens.forEachRow(reading: [.entropy]) {
                selectors[scopes.number($0)].census($1[0])
            } _: {
                try take($0, $1)
            }
        } else {
            try facts.space.forEach(self.kept.indices) { try take($0, TokenCensus(tokens: Int(fact($0).trainable))) }
        }
        return (try kept.finish(), remembers ? try standing.finish() : nil)
    }

    /// Tokens whose interval reaches over the true threshold, which lies between the cut of all lower and that of all
    /// upper bounds.
    private func addUndecided(_ mask: EntropyMask, _ scopes: Scopes, _ outcome: inout MaskOutcome) throws {
        let populations = populations(mask, scopes), type = mask.selection.type
        let cuts = try [TokenColumn.entropyLow, .entropyHigh].map { column in
            selectors(mask, scopes, try statistics(column, scopes, populations)).map { $0.threshold ?? 0 }
        }
        var byRow = ScratchWriter<Int32>(facts.space)
        try tokens.forEachRow(reading: [.entropyLow, .entropyHigh]) { position, bounds in
            let scope = scopes.number(position), (low, high) = (bounds[0], bounds[1])
            return low.indices.count {
                !type.isDecided(low: low[$0], high: high[$0], lowCut: cuts[0][scope], highCut: cuts[1][scope])
            }
        } _: {
            outcome.undecided += $1
            try byRow.append(Int32($1))
        }
        outcome.undecidedByRow = try byRow.finish()
    }

    // MARK: weights

    private func steps(_ keptTokens: ScratchArray<Int32>) -> [StepCounts] {
        let (kept, rows) = (kept, facts.rows), countsKept = recipe.plannedMask?.normalizer == .kept
        var steps: [StepCounts] = [], longest = 0
        facts.space.forEach(kept.indices) { position in
            let row = kept[position], trainable = Int(rows[Int(row.row)].trainable)
            while steps.count <= row.step { steps.append(StepCounts(countsKept: countsKept, longest: 0)) }
            steps[Int(row.step)].add(trainable: trainable, kept: Int(keptTokens[position]))
            longest = max(longest, trainable)
        }
        for step in steps.indices { steps[step].longest = recipe.reward.overlong?.maxLength ?? longest }
        return steps
    }
}

/// The selector of a scope without tokens.
private struct NothingToMark: TokenSelector {
    var threshold: Double? { nil }
    func marks(_ entropy: [Float], _ mask: [Bool]) -> [Bool] { mask.map { _ in false } }
    func census(_ entropy: UnsafeBufferPointer<Float>) -> TokenCensus { TokenCensus(tokens: entropy.count) }
    func census(_ near: UnsafeBufferPointer<Float>, above: Int, below: Int) -> TokenCensus {
        TokenCensus(tokens: near.count + above + below)
    }
    func count(_ row: TokenCensus) -> Int { 0 }
}
