import Quantiles
import Scratch

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

/// What a plan knows of its tokens as a whole: how many of each row are trained on, and where entropies lie.
struct MaskOutcome: Sendable {
    /// nil where every trainable token is kept.
    var mask: PlannedMask?
    /// Per scope that was masked.
    var thresholds: [Double] = []
    /// Tokens that are kept, by row.
    var keptTokens: ScratchArray<Int32>
    var undecided = 0
    /// By row, where there are intervals.
    var undecidedByRow = ScratchArray<Int32>([])
    /// At 20, 50, 80 and 95 %, over trainable tokens; nil where no row has entropies.
    var entropyQuantiles: [Double]?
    var warnings: [String] = []
}

/// Decides where a mask cuts, and counts what it keeps. Tokens are gone through in passes, a piece at a time; what is
/// held meanwhile grows with rows alone.
struct MaskPlanner {
    let mask: EntropyMask?
    let facts: RolloutFacts
    let kept: ScratchArray<PlannedRow>
    let tokens: KeptTokens
    let seed: UInt64

    func run() throws -> MaskOutcome {
        let scopes = mask.map { Scopes($0.scope, kept, facts) }, ranks = try entropyRanks(scopes)
        var outcome: MaskOutcome
        if let mask, let scopes {
            outcome = try plan(mask, scopes, ranks)
        } else {
            outcome = MaskOutcome(keptTokens: try trainableTokens())
        }
        outcome.entropyQuantiles = ranks.report
        return outcome
    }

    private func fact(_ position: Int) -> RolloutFacts.Row { facts.rows[Int(kept[position].row)] }

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
        let mask = mask.flatMap { $0.selection.type.readsEntropy ? $0 : nil }
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

    private func plan(_ mask: EntropyMask, _ scopes: Scopes, _ ranks: EntropyRanks) throws -> MaskOutcome {
        let selectors = selectors(mask, scopes, ranks.mask), thresholds = selectors.compactMap(\.threshold)
        let (keptTokens, standing) = try count(mask, ranks.around, selectors, scopes)
        let planned = PlannedMask(selectors: selectors, scopes: scopes, standing: standing)
        var outcome = MaskOutcome(mask: planned, thresholds: thresholds, keptTokens: keptTokens)
        if mask.ties == .quantile, (mask.spelledOut.top ?? 1).value < 1, thresholds.contains(0) {
            outcome.warnings.append(Self.zeroThreshold)
        }
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
