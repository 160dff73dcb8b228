/// Sequences that an objective sees together, as the cutting into micro-batches sees them.
package struct BatchUnit: Sendable {
    /// What each sequence shares prefixes by, as far as it is computed; see `PrefixKeys`.
    package let sequences: [[Int32]]
    /// Tokens of each whole sequence.
    let lengths: [Int]
    /// Tokens whose log-probability is wanted.
    package let wanted: Int

    /// All of them, shared or not.
    package var tokens: Int { sequences.reduce(0) { $0 + $1.count } }

    /// `lengths`: of sequences that aren't computed to their ends.
    package init(sequences: [[Int32]], lengths: [Int]? = nil, wanted: Int) {
        (self.sequences, self.wanted) = (sequences, wanted)
        self.lengths = lengths ?? sequences.map(\.count)
    }
}

/// Units whose gradients are computed in one pass.
package struct MicroBatch: Equatable, Sendable {
    /// Indices of the units, in the order of computation.
    package let units: [Int]
    /// Distinct tokens: each prefix that sequences share counts once. (An upper bound where units hold several
    /// sequences.)
    package let tokens: Int
    package let wanted: Int
    /// Layers whose activations the pass keeps.
    package let keptLayers: Int
}

/// How large a micro-batch may be, and what one costs.
package struct BatchLimits: Sendable {
    /// Most distinct tokens that fit in memory with the activations of 1, 2, … layers.
    let mostTokens: [Int]
    /// More than these no batch of several units shall have.
    let tokens: Int
    /// See `TrainingMemory.recomputedShare`.
    let recomputedShare: Double
    /// See `DecoderArchitecture.longSequences`.
    let longSequences: Int?

    /// Beyond this a matrix product gains nothing by more rows, and memory that nobody needs is left to others.
    package static let usualTokens = 8192

    /// What a micro-batch costs beyond its tokens, as tokens: the weights' gradients are read and written once more,
    /// matrix products start anew.
    private static let startTokens = 48.0

    package init(_ memory: TrainingMemory, within bytes: Int, wanted: Int, tokens: Int = usualTokens) {
        mostTokens = (1...memory.architecture.layers).map {
            memory.mostTokens(within: bytes, wanted: wanted, keptLayers: $0)
        }
        self.tokens = tokens
        recomputedShare = memory.recomputedShare
        longSequences = memory.architecture.longSequences
    }

    /// The most layers that can be kept beside so many tokens; nil where not even one can.
    package func keptLayers(tokens: Int) -> Int? { mostTokens.lastIndex { $0 >= tokens }.map { $0 + 1 } }

    /// Work, as tokens.
    package func cost(tokens: Int, keptLayers: Int) -> Double {
        let recomputed = Double(mostTokens.count - keptLayers) / Double(mostTokens.count)
        return Double(tokens) * (1 + recomputed * recomputedShare) + Self.startTokens
    }
}

/// Cuts units into micro-batches at the least cost. Units are put in the order of their tokens first, so that those
/// that share a prefix are neighbours: a stretch of them is then a subtree or a few, and a cut costs the prefix that
/// both sides share.
package func microBatches(_ units: [BatchUnit], _ limits: BatchLimits) throws -> [MicroBatch] {
    try batches(of: orderOfTokens(units), units, limits)
}

/// The same for ranks that compute at the same time: micro-batches of each. A rank gets a stretch of the line, and the
/// dearest stretch is as cheap as it can be: trees are cut between ranks only where one would have too much of them.
/// Ranks that come last may get nothing.
package func microBatches(
    _ units: [BatchUnit], _ limits: BatchLimits, ranks: Int, _ costs: UnitCosts
) throws -> [[MicroBatch]] {
    let order = orderOfTokens(units)
    let stretches = UnitLine(order.map { units[$0] }, longSequences: limits.longSequences).stretches(ranks, costs)
    return try stretches.map { try batches(of: Array(order[$0]), units, limits) }
}

/// Multiplications of a unit's tokens, and of those that are wanted.
package struct UnitCosts: Sendable {
    let token: Int
    let wanted: Int

    package init(token: Int, wanted: Int) { (self.token, self.wanted) = (token, wanted) }
}

private func orderOfTokens(_ units: [BatchUnit]) -> [Int] {
    units.indices.sorted { precedes(units[$0], units[$1]) ?? ($0 < $1) }
}

private func batches(of order: [Int], _ units: [BatchUnit], _ limits: BatchLimits) throws -> [MicroBatch] {
    let line = UnitLine(order.map { units[$0] }, longSequences: limits.longSequences)
    return try line.cheapestCuts(limits).map { cut in
        MicroBatch(
            units: Array(order[cut.range]), tokens: line.tokens(cut.range), wanted: line.wanted(cut.range),
            keptLayers: cut.keptLayers)
    }
}

/// A unit for whose tokens no pass is small enough.
package struct UnitTooLarge: Error {
    package let tokens: Int
    package let wanted: Int
}

/// By the first sequences; nil where they are equal.
private func precedes(_ one: BatchUnit, _ other: BatchUnit) -> Bool? {
    guard let a = one.sequences.first, let b = other.sequences.first, a != b else { return nil }
    return a.lexicographicallyPrecedes(b)
}

/// Units in order, with what each adds to the distinct tokens of those before it.
private struct UnitLine {
    private let units: [BatchUnit]
    /// Sums over the units before: of new tokens and of wanted ones.
    private var tokensBefore = [0]
    private var wantedBefore = [0]
    /// Tokens that each unit shares with the one before it.
    private var shared: [Int] = []

    init(_ units: [BatchUnit], longSequences: Int?) {
        self.units = units
        func newTokens(_ unit: BatchUnit, after other: BatchUnit?) -> Int {
            Self.newTokens(unit, after: other, longSequences: longSequences ?? .max)
        }
        for (index, unit) in units.enumerated() {
            let alone = newTokens(unit, after: nil),
                new = newTokens(unit, after: index > 0 ? units[index - 1] : nil)
            shared.append(alone - new)
            tokensBefore.append(tokensBefore[index] + new)
            wantedBefore.append(wantedBefore[index] + unit.wanted)
        }
    }

    func tokens(_ range: Range<Int>) -> Int {
        tokensBefore[range.upperBound] - tokensBefore[range.lowerBound] + shared[range.lowerBound]
    }
    func wanted(_ range: Range<Int>) -> Int { wantedBefore[range.upperBound] - wantedBefore[range.lowerBound] }

    /// Tokens of a unit that no earlier sequence of it or of `other` has in its place. Long sequences share nothing with
    /// others.
    private static func newTokens(_ unit: BatchUnit, after other: BatchUnit?, longSequences limit: Int) -> Int {
        func members(_ unit: BatchUnit) -> [(tokens: [Int32], isLong: Bool)] {
            zip(unit.sequences, unit.lengths).map { ($0, $1 > limit) }
        }
        var known = other.map(members) ?? [], count = 0
        for member in members(unit) {
            let akin = known.filter { $0.isLong == member.isLong }
            count += member.tokens.count - (akin.map { sharedPrefix(member.tokens, $0.tokens) }.max() ?? 0)
            known.append(member)
        }
        return count
    }

    private static func sharedPrefix(_ a: [Int32], _ b: [Int32]) -> Int {
        let end = min(a.count, b.count)
        return (0..<end).first { a[$0] != b[$0] } ?? end
    }

    struct Cut {
        let range: Range<Int>
        let keptLayers: Int
    }

    private func cost(_ range: Range<Int>, _ costs: UnitCosts) -> Int {
        costs.token * tokens(range) + costs.wanted * wanted(range)
    }

    /// The line in `count` stretches of which the dearest is as cheap as can be. A stretch's cost grows with every
    /// unit, so the least that suffices for all is found by halving.
    func stretches(_ count: Int, _ costs: UnitCosts) -> [Range<Int>] {
        let nothing = units.count..<units.count
        var best = [units.indices] + [Range<Int>](repeating: nothing, count: count - 1)
        var tooLow = -1, enough = units.isEmpty ? 0 : cost(units.indices, costs)
        while enough - tooLow > 1 {
            let middle = tooLow + (enough - tooLow) / 2
            if let found = stretches(within: middle, count, costs) {
                (best, enough) = (found, middle)
            } else {
                tooLow = middle
            }
        }
        return best
    }

    /// Each as long as the cost lets it be; nil where so many are not enough.
    private func stretches(within most: Int, _ count: Int, _ costs: UnitCosts) -> [Range<Int>]? {
        var stretches: [Range<Int>] = [], start = 0
        for _ in 0..<count {
            var end = start
            while end < units.count, cost(start..<end + 1, costs) <= most { end += 1 }
            stretches.append(start..<end)
            start = end
        }
        return start == units.count ? stretches : nil
    }

    /// The cheapest way to each place in the line, from the cheapest ways to the places before it.
    func cheapestCuts(_ limits: BatchLimits) throws -> [Cut] {
        var costs = [0.0], last: [Cut] = []
        for end in 1..<units.count + 1 {
            guard let (cut, cost) = cheapestLast(end, costs, limits) else {
                throw UnitTooLarge(tokens: tokens(end - 1..<end), wanted: wanted(end - 1..<end))
            }
            costs.append(cost)
            last.append(cut)
        }
        return Self.walkBack(last)
    }

    /// The cheapest last batch before `end`, with the cost up to there; nil where not even the last unit alone fits.
    private func cheapestLast(_ end: Int, _ costs: [Double], _ limits: BatchLimits) -> (Cut, Double)? {
        var best: (Cut, Double)?
        for start in (0..<end).reversed() {
            let tokens = tokens(start..<end)
            guard let kept = limits.keptLayers(tokens: tokens), tokens <= limits.tokens || start == end - 1 else {
                break
            }
            let cost = costs[start] + limits.cost(tokens: tokens, keptLayers: kept)
            if best.map({ cost < $0.1 }) ?? true { best = (Cut(range: start..<end, keptLayers: kept), cost) }
        }
        return best
    }

    private static func walkBack(_ last: [Cut]) -> [Cut] {
        var cuts: [Cut] = [], end = last.count
        while end > 0 {
            cuts.append(last[end - 1])
            end = last[end - 1].range.lowerBound
        }
        return cuts.reversed()
    }
}
