import Scratch

/// Where the advantages of kept rows come from, before they are whitened and shaped.
protocol AdvantageSource: Sendable {
    /// What the kept rows at these positions are worth.
    ///
    /// - Parameters:
    ///   - positions: Of kept rows, one behind the other.
    ///   - masks: Their trainable tokens, [L] each.
    /// - Returns: [L] each, 0 outside of the mask.
    func credits(_ positions: Range<Int>, masks: [[Bool]]) -> [EpisodeCredit]
    /// Every trainable token's advantage in order; equal ones in a row come together.
    func forEachToken(_ body: (_ advantage: Double, _ count: Int) -> Void)
}

/// One advantage per rollout: rewards say all.
struct RewardAdvantages: AdvantageSource {
    let kept: ScratchArray<PlannedRow>
    let facts: RolloutFacts

    func credits(_ positions: Range<Int>, masks: [[Bool]]) -> [EpisodeCredit] {
        zip(positions, masks).map { EpisodeCredit(advantages: spread(kept[$0].advantage, $1)) }
    }

    func forEachToken(_ body: (Double, Int) -> Void) {
        facts.space.forEach(kept.indices) { body(kept[$0].advantage, Int(facts.rows[Int(kept[$0].row)].trainable)) }
    }
}

/// One advantage per token, worked out before: by an estimator that reads tokens, or by an expansion. Eight bytes for a
/// trainable token, sixteen with returns, where the space has lists that grow with a dump.
struct TokenAdvantages: AdvantageSource {
    /// Where the numbers of a kept row lie.
    struct Place: BitwiseCopyable, Sendable {
        var start = 0
        var count: Int32 = 0
        var hasReturns = false
        var range: Range<Int> { start..<start + Int(count) }
    }

    /// By position among the kept rows.
    let places: ScratchArray<Place>
    /// Of trainable tokens, a row's side by side.
    let advantages: ScratchArray<Double>
    /// Beside the advantages; empty where no row has any.
    let returns: ScratchArray<Double>
    let space: ScratchSpace

    func credits(_ positions: Range<Int>, masks: [[Bool]]) -> [EpisodeCredit] {
        zip(positions, masks).map { position, mask in
            let place = places[position]
            return EpisodeCredit(
                advantages: advantages.withElements(place.range) { spread($0, mask) },
                returns: place.hasReturns ? returns.withElements(place.range) { spread($0, mask) } : nil)
        }
    }

    func forEachToken(_ body: (Double, Int) -> Void) {
        for place in places {
            space.forEachChunk(of: advantages, place.range) { for advantage in $0 { body(advantage, 1) } }
        }
    }
}

extension TokenAdvantages {
    /// What an estimator makes of every group's tokens, each group once.
    init(
        _ recipe: CreditRecipe, _ rows: FilteredRollouts, _ facts: RolloutFacts, _ source: any TokenSource
    ) throws {
        let estimator = recipe.advantage
        let space = facts.space, positions = try rows.positions(facts)
        let places = try ScratchTable<Place>(space, count: rows.kept.count)
        var advantages = ScratchWriter<Double>(space), returns = ScratchWriter<Double>(space)
        let groups = GroupCredits(recipe: recipe, plan: rows.planFigures, facts: facts, source: source)
        try source.inOrder(facts.groups.count) { group in
            let isKept = facts.groups[group].map { positions[Int($0)] > 0 }
            return isKept.contains(true) ? try groups.credits(group) : []
        } _: { _, credits in
            for credit in credits where positions[Int(credit.row)] > 0 {
                places[Int(positions[Int(credit.row)]) - 1] = Place(
                    start: advantages.count, count: Int32(credit.advantages.count), hasReturns: credit.returns != nil)
                try credit.advantages.withUnsafeBufferPointer { try advantages.append(contentsOf: $0) }
                guard estimator.givesReturns else { continue }
                let own = credit.returns ?? credit.advantages.map { _ in 0 }
                try own.withUnsafeBufferPointer { try returns.append(contentsOf: $0) }
            }
            space.releasePages(after: credits.count)
        }
        self.init(
            places: places.array, advantages: try advantages.finish(), returns: try returns.finish(), space: space)
    }
}

/// What an estimator that reads tokens makes of a group.
private struct GroupCredits: Sendable {
    let recipe: CreditRecipe
    /// Figures of the whole plan.
    let plan: [Double]
    let facts: RolloutFacts
    let source: any TokenSource

    /// Numbers of one rollout's trainable tokens.
    struct RowCredit: Sendable {
        let row: Int32
        var advantages: [Double]
        var returns: [Double]?
    }

    /// Of every member that the estimator doesn't drop.
    func credits(_ group: Int) throws -> [RowCredit] {
        let members = facts.groups[group]
        let estimator = recipe.advantage
        guard !recipe.filter.zeroes(members, facts) else {
            return members.map {
                RowCredit(row: $0, advantages: [Double](repeating: 0, count: Int(facts.rows[Int($0)].trainable)))
            }
        }
        let inputs = try source.inputs(of: members[...], reading: recipe.advantageColumns)
        let episodes = zip(members, inputs).map { member, input in
            var episode = Episode(input, facts, Int(member))
            if estimator.readsCorrection { episode.correctionWeights = recipe.correction.weights(input) }
            return episode
        }
        return zip(members.indices, estimator.credit(episodes, plan: plan)).compactMap { index, credit in
            credit.map {
                RowCredit(
                    row: members[index], advantages: masked($0.advantages, inputs[index].mask),
                    returns: $0.returns.map { masked($0, inputs[index].mask) })
            }
        }
    }
}

/// (x - mean) / sqrt(var + 1e-8) over all trainable tokens, Bessel-corrected; 0 where there is only one.
struct Whitening: Sendable {
    /// Tokens that it is over.
    private(set) var count = 0
    private var mean = 0.0
    /// nil: nothing to compare with.
    private var scale: Double?

    init(_ advantages: any AdvantageSource) {
        var sum = 0.0, count = 0
        advantages.forEachToken { advantage, times in
            // One by one: a product would round otherwise than the sum, and depend on how tokens are grouped.
            for _ in 0..<times { sum += advantage }
            count += times
        }
        self.count = count
        guard count > 1 else { return }
        let mean = sum / Double(count)
        var squares = 0.0
        advantages.forEachToken { advantage, times in
            let square = (advantage - mean) * (advantage - mean)
            for _ in 0..<times { squares += square }
        }
        (self.mean, scale) = (mean, 1 / (squares / Double(count - 1) + 1e-8).squareRoot())
    }

    func apply(_ advantages: [Double], _ mask: [Bool]) -> [Double] {
        guard let scale else { return advantages.map { _ in 0 } }
        return advantages.indices.map { mask[$0] ? (advantages[$0] - mean) * scale : advantages[$0] }
    }
}

/// A number on a row's trainable tokens, 0 elsewhere.
func spread(_ value: Double, _ mask: [Bool]) -> [Double] {
    [Double](unsafeUninitializedCapacity: mask.count) { target, count in
        mask.withUnsafeBufferPointer { mask in for t in 0..<mask.count { target[t] = mask[t] ? value : 0 } }
        count = mask.count
    }
}

/// A row's numbers of trainable tokens, one for each, at their places; 0 elsewhere.
func spread(_ values: UnsafeBufferPointer<Double>, _ mask: [Bool]) -> [Double] {
    var next = 0
    let spread = mask.map { isTrainable in
        guard isTrainable else { return 0.0 }
        defer { next += 1 }
        return values[next]
    }
    precondition(next == values.count, "a number for every trainable token")
    return spread
}

/// Those of a row's numbers that belong to trainable tokens.
func masked(_ values: [Double], _ mask: [Bool]) -> [Double] {
    mask.indices.filter { mask[$0] }.map { values[$0] }
}
