import Scratch

/// Where the advantages of kept rows come from, before they are whitened and shaped.
protocol KeptAdvantages: Sendable {
    /// What it reads of rows.
    var columns: Set<TokenColumn> { get }
    /// Credit of the kept rows at these positions, given their tokens.
    func credits(_ positions: Range<Int>, _ inputs: [CreditInput]) throws -> [EpisodeCredit]
    /// Every trainable token's advantage in order; equal ones in a row come together.
    func forEachToken(_ body: (_ advantage: Double, _ count: Int) -> Void) throws
}

/// One advantage per rollout.
struct RewardAdvantages: KeptAdvantages {
    let kept: ScratchArray<PlannedRow>
    let facts: RolloutFacts

    var columns: Set<TokenColumn> { [] }

    func credits(_ positions: Range<Int>, _ inputs: [CreditInput]) -> [EpisodeCredit] {
        zip(positions, inputs).map { EpisodeCredit(advantages: spread(kept[$0].advantage, $1.mask)) }
    }

    func forEachToken(_ body: (Double, Int) -> Void) {
        facts.space.forEach(kept.indices) { body(kept[$0].advantage, Int(facts.rows[Int(kept[$0].row)].trainable)) }
    }
}

/// One per token, which an estimator makes of a whole group's tokens.
struct TokenAdvantages: KeptAdvantages {
    let estimator: any AdvantageEstimator
    let filter: GroupFilter
    let selection: FilteredRollouts
    let facts: RolloutFacts
    let source: any TokenSource

    var columns: Set<TokenColumn> { estimator.columns }

    /// Members that are not among the rows at hand, neighbours cut off or rollouts left out, are read beside.
    func credits(_ positions: Range<Int>, _ inputs: [CreditInput]) throws -> [EpisodeCredit] {
        let known = Dictionary(zip(positions.map { selection.kept[$0].row }, inputs)) { first, _ in first }
        var credits: [Int32: EpisodeCredit] = [:]
        for group in Set(positions.map { selection.kept[$0].group }) {
            for (row, credit) in try self.credits(Int(group), known) where known[row] != nil { credits[row] = credit }
        }
        return positions.map { credits[selection.kept[$0].row] ?? EpisodeCredit(advantages: []) }
    }

    private func credits(_ group: Int, _ known: [Int32: CreditInput]) throws -> [(Int32, EpisodeCredit)] {
        let members = facts.groups[group], missing = members.filter { known[$0] == nil }
        let read = Dictionary(uniqueKeysWithValues: zip(missing, try source.inputs(of: missing[...], reading: columns)))
        let inputs = members.compactMap { known[$0] ?? read[$0] }
        guard !filter.zeroes(members.map { facts.rows[Int($0)] }) else {
            return zip(members, inputs).map { ($0, EpisodeCredit(advantages: $1.mask.map { _ in 0 })) }
        }
        let episodes = zip(members, inputs).map { Episode($1, reward: facts.rows[Int($0)].reward) }
        return zip(members, estimator.credit(episodes, planScale: selection.planScale)).compactMap { row, credit in
            credit.map { (row, $0) }
        }
    }

    func forEachToken(_ body: (Double, Int) -> Void) throws {
        // What one thread has in hand.
        let pieces = selection.kept.chunks(selection.kept.indices, facts) { _, tokens in tokens >= 1 << 18 }
        try source.inOrder(pieces.count) { index in
            let inputs = try source.inputs(of: selection.kept[pieces[index]].map(\.row)[...], reading: columns)
            return zip(try credits(pieces[index], inputs), inputs).flatMap { credit, input in
                input.mask.indices.filter { input.mask[$0] }.map { credit.advantages[$0] }
            }
        } _: { _, advantages in
            advantages.forEach { body($0, 1) }
        }
    }
}

/// As an expansion made them.
struct CreditedAdvantages: KeptAdvantages {
    /// By position among the kept rows, [L] each.
    let rows: [[Double]]
    let masks: [[Bool]]

    var columns: Set<TokenColumn> { [] }

    func credits(_ positions: Range<Int>, _ inputs: [CreditInput]) -> [EpisodeCredit] {
        positions.map { EpisodeCredit(advantages: rows[$0]) }
    }

    func forEachToken(_ body: (Double, Int) -> Void) {
        for (row, mask) in zip(rows, masks) { for t in mask.indices where mask[t] { body(row[t], 1) } }
    }
}

/// (x - mean) / sqrt(var + 1e-8) over all trainable tokens, Bessel-corrected; 0 where there is only one.
struct Whitening: Sendable {
    /// Tokens that it is over.
    private(set) var count = 0
    private var mean = 0.0
    /// nil: nothing to compare with.
    private var scale: Double?

    init(_ advantages: any KeptAdvantages) throws {
        var sum = 0.0
        try advantages.forEachToken { advantage, times in
            // One by one: a product would round otherwise than the sum, and depend on how tokens are grouped.
            for _ in 0..<times { sum += advantage }
            count += times
        }
        guard count > 1 else { return }
        let mean = sum / Double(count)
        var squares = 0.0
        try advantages.forEachToken { advantage, times in
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
