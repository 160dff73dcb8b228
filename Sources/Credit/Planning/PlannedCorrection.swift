import Scratch

/// A correction with what it must know of the whole plan.
struct PlannedCorrection: Sendable {
    let correction: ImportanceCorrection
    /// What weights are divided by.
    fileprivate(set) var mean = 1.0
    /// By step, or one for the whole plan; empty where there is no second moment.
    fileprivate var cuts: [SecondMomentCut] = []
    /// By position: of squares at the cut how many this row and those behind it may keep.
    fileprivate var ties: ScratchArray<Int32>?
    /// By position; nil: denominators know all tokens.
    fileprivate(set) var counts: ScratchArray<RowCounts>?

    /// Tokens of a row that stay in denominators, and those of them that the mask keeps.
    struct RowCounts: BitwiseCopyable, Sendable {
        let trainable: Int32
        let kept: Int32
    }

    /// What it makes of a row, [L] each.
    struct Row {
        var weights: [Double]
        /// Trainable tokens that nothing rejects.
        var keeps: [Bool]
    }

    /// nil where the row's log-probabilities are not known.
    func row(_ position: Int, _ step: Int, _ input: CreditInput) -> Row? {
        guard let ratios = LogRatios(input, correction) else { return nil }
        let keeps = keeps(position, step, ratios)
        return Row(
            weights: zip(correction.weights(ratios), keeps).map { $1 ? $0 / mean : 0 }, keeps: keeps)
    }

    fileprivate func keeps(_ position: Int, _ step: Int, _ ratios: LogRatios) -> [Bool] {
        var keeps = correction.keeps(ratios)
        guard let rule = correction.secondMoment else { return keeps }
        let cut = cuts[rule.scope == .plan ? 0 : step]
        var left = ties.map { Int($0[position]) } ?? 0
        for t in keeps.indices where ratios.mask[t] {
            let square = SecondMomentCut.square(ratios.differences[t])
            if square == cut.highest { left -= 1 }
            if square > cut.highest || square == cut.highest && left < 0 { keeps[t] = false }
        }
        return keeps
    }
}

extension LogRatios {
    /// nil where the row's log-probabilities are not known.
    init?(_ input: CreditInput, _ correction: ImportanceCorrection) {
        guard let trainer = input.columns[.oldLogprobs],
            let sampler = input.columns[.rolloutLogprobs] ?? (correction.allowMissing ? trainer : nil)
        else { return nil }
        self.init(trainer: trainer, sampler: sampler, mask: input.mask)
    }
}

/// The largest Δ² of a population that stays, and how many that are equal to it do.
private struct SecondMomentCut: Sendable {
    var highest = Float.infinity
    var ties = 0

    static func square(_ difference: Double) -> Float { Float(difference * difference) }

    /// The largest go until the mean of the others is below `threshold`; at least one stays.
    init(_ squares: [Float], below threshold: Double) {
        let ascending = squares.sorted()
        var sum = 0.0, kept = 0
        for square in ascending {
            sum += Double(square)
            guard kept == 0 || sum / Double(kept + 1) < threshold else { break }
            kept += 1
        }
        guard kept > 0 else { return }
        highest = ascending[kept - 1]
        ties = kept - ascending.prefix(kept).count { $0 < highest }
    }
}

/// Goes over the kept rows for what a correction must know of them together. Of a second moment's population four bytes
/// a token are in memory at a time; everything else grows with rows alone.
struct CorrectionPlanner {
    let recipe: CreditRecipe
    let facts: RolloutFacts
    let kept: ScratchArray<PlannedRow>
    let source: any TokenSource
    let mask: PlannedMask?

    private var correction: ImportanceCorrection { recipe.correction }

    func run() throws -> PlannedCorrection? {
        guard correction.isOn else { return nil }
        var planned = PlannedCorrection(correction: correction)
        guard correction.needsPlan, !kept.isEmpty else { return planned }
        if let rule = correction.secondMoment { try cut(rule, &planned) }
        try measure(&planned)
        return planned
    }

    /// Rows of which a thread holds the tokens at a time, and tokens from which on it takes no other.
    private static let strideRows = 256, strideTokens = 1 << 18

    /// `read` runs on any thread, `see` on the calling one in the order of the rows.
    private func forEachRow<Value: Sendable>(
        _ read: @Sendable (_ position: Int, CreditInput) -> Value, _ see: (_ position: Int, Value) throws -> Void
    ) throws {
        let strides = kept.chunks(kept.indices, facts) { $0 >= Self.strideRows || $1 >= Self.strideTokens }
        try source.inOrder(strides.count) { index in
            let inputs = try source.inputs(
                of: strides[index].map { kept[$0].row }[...], reading: recipe.rowColumns)
            return zip(strides[index], inputs).map { read($0, $1) }
        } _: { index, values in
            for (position, value) in zip(strides[index], values) { try see(position, value) }
            facts.space.releasePages(after: strides[index].count)
        }
    }

    // MARK: second moment

    private func cut(_ rule: RejectionRule, _ planned: inout PlannedCorrection) throws {
        let isOfPlan = rule.scope == .plan
        var populations: [[Float]] = []
        func population(_ position: Int) -> Int { isOfPlan ? 0 : Int(kept[position].step) }
        try forEachRow {
            squares($1)
        } _: { position, squares in
            while populations.count <= population(position) { populations.append([]) }
            populations[population(position)] += squares
        }
        for index in populations.indices {
            planned.cuts.append(SecondMomentCut(populations[index], below: rule.high ?? .infinity))
            populations[index] = []
        }
        let cuts = planned.cuts
        var left = cuts.map(\.ties)
        let ties = try ScratchTable<Int32>(facts.space, count: kept.count)
        try forEachRow { position, input in
            let highest = cuts[isOfPlan ? 0 : Int(kept[position].step)].highest
            return squares(input).count { $0 == highest }
        } _: { position, count in
            let own = population(position)
            ties[position] = Int32(max(0, left[own]))
            left[own] -= count
        }
        planned.ties = ties.array
    }

    private func squares(_ input: CreditInput) -> [Float] {
        guard let ratios = LogRatios(input, correction) else { return [] }
        return ratios.mask.indices.filter { ratios.mask[$0] }.map { SecondMomentCut.square(ratios.differences[$0]) }
    }

    // MARK: means and counts

    private struct Measured: Sendable {
        var sum = 0.0
        var count = 0.0
        var trainable = 0
        var kept = 0
    }

    private func measure(_ planned: inout PlannedCorrection) throws {
        let current = planned
        var sum = 0.0, count = 0.0
        let counts = try ScratchTable<PlannedCorrection.RowCounts>(facts.space, count: kept.count)
        try forEachRow {
            measured($0, $1, current)
        } _: { position, row in
            (sum, count) = (sum + row.sum, count + row.count)
            counts[position] = PlannedCorrection.RowCounts(trainable: Int32(row.trainable), kept: Int32(row.kept))
        }
        if correction.weighs, correction.normalize == .batch, count > 0, sum / count > 1e-8 {
            planned.mean = sum / count
        }
        if correction.denominator == .kept { planned.counts = counts.array }
    }

    private func measured(_ position: Int, _ input: CreditInput, _ planned: PlannedCorrection) -> Measured {
        guard let ratios = LogRatios(input, correction) else { return Measured() }
        let weights = correction.weights(ratios), trainable = input.mask.count { $0 }
        let keeps = planned.keeps(position, Int(kept[position].step), ratios),
            marks = mask?.marks(position, input) ?? input.mask
        var row = Measured()
        row.trainable = keeps.count { $0 }
        row.kept = zip(keeps, marks).count { $0 && $1 }
        guard trainable > 0 else { return row }
        switch correction.level {
        case .sequenceSum, .sequenceMean:
            (row.sum, row.count) = (weights[input.mask.firstIndex(of: true) ?? 0], 1)
        case .none, .token, .segment: (row.sum, row.count) = (weights.reduce(0, +), Double(trainable))
        }
        return row
    }
}
