import Scratch

/// Order statistics of populations whose values stream by: one large one is found in one pass by brackets; of
/// several, a population that lies in one piece, or is complete before too many others have begun, is found at once,
/// in one pass; where too much would have to wait, all are counted.
package struct StreamingQuantiles {
    private let rows: StreamedRows
    private let populations: [Population]
    private let space: ScratchSpace
    private let mostWaiting: Int
    private let mostCounters: Int
    private let leastBracketed: Int

    /// `space`: for what grows with the rows. `mostWaiting`: values that may wait for their population to be complete
    /// (64 MB of them). `mostCounters`: 16 MB for each thread. `leastBracketed`: values from which on a sample is worth
    /// its while.
    package init(
        rows: StreamedRows, populations: [Population], space: ScratchSpace, mostWaiting: Int = 1 << 24,
        mostCounters: Int = 1 << 21, leastBracketed: Int = 1 << 16
    ) {
        (self.rows, self.populations, self.space) = (rows, populations, space)
        (self.mostWaiting, self.mostCounters, self.leastBracketed) = (mostWaiting, mostCounters, leastBracketed)
    }

    package func run(_ stream: some ValueStream) throws -> [[OrderStatistic]] {
        if let bracketed = try bracketed(stream, cut: []) { return [bracketed.statistics] }
        return try withoutBrackets(stream)
    }

    /// Also how rows lie about a cut at these of the first population's ranks, where that can be told at no further
    /// cost.
    package func run(_ stream: some ValueStream, cut: [Int]) throws -> (
        statistics: [[OrderStatistic]], around: RowsAroundCut?
    ) {
        if let bracketed = try bracketed(stream, cut: cut) { return ([bracketed.statistics], bracketed.around) }
        return (try withoutBrackets(stream), nil)
    }

    /// nil: another way must be gone.
    private func bracketed(_ stream: some ValueStream, cut: [Int]) throws -> BracketedSelect.Outcome? {
        guard populations.count == 1, populations[0].count >= leastBracketed else { return nil }
        return try BracketedSelect(
            rows: rows, population: populations[0], cut: cut, mostKept: mostWaiting, space: space
        ).run(stream)
    }

    private func withoutBrackets(_ stream: some ValueStream) throws -> [[OrderStatistic]] {
        let extents = extents(stream.pieces)
        return try isWorthCounting || peakWaiting(extents, stream.pieces) > mostWaiting
            ? count(stream) : wait(extents, stream)
    }

    /// Few populations and many values: two rounds, on all threads, with less memory than the values.
    private var isWorthCounting: Bool {
        populations.count << 16 <= min(mostCounters, populations.reduce(0) { $0 + $1.count })
    }

    private func count(_ stream: some ValueStream) throws -> [[OrderStatistic]] {
        var radix = RadixSelect(populations, mostCounters: mostCounters)
        while !radix.isDone { radix.endRound(try counters(radix.round, stream)) }
        return radix.statistics
    }

    private func counters(_ round: RadixRound, _ stream: some ValueStream) throws -> RadixCounters {
        let tables = IdlePool<RadixCounters>()
        try stream.inOrder { piece in
            let counters = tables.take() ?? round.counters()
            try stream.forEachRow(of: piece) { row, values in counters.add(values, to: rows.population(row)) }
            tables.give(counters)
        } _: { _, _ in
        }
        let total = tables.take() ?? round.counters()
        while let counters = tables.take() { total.add(counters) }
        return total
    }

    // MARK: waiting

    /// First and last piece of each population.
    private func extents(_ pieces: [Range<Int>]) -> [(first: Int, last: Int)] {
        var extents = [(first: Int, last: Int)](repeating: (-1, -1), count: populations.count)
        for (piece, range) in pieces.enumerated() {
            space.forEach(range) { row in
                let population = rows.population(row)
                extents[population] = (extents[population].first < 0 ? piece : extents[population].first, piece)
            }
        }
        return extents
    }

    private func peakWaiting(_ extents: [(first: Int, last: Int)], _ pieces: [Range<Int>]) -> Int {
        var comes = [Int](repeating: 0, count: pieces.count), goes = comes, waiting = 0, peak = 0
        for (population, extent) in zip(populations, extents) where extent.first < extent.last {
            comes[extent.first] += population.count
            goes[extent.last] += population.count
        }
        for piece in pieces.indices {
            waiting += comes[piece]
            peak = max(peak, waiting)
            waiting -= goes[piece]
        }
        return peak
    }

    private func wait(_ extents: [(first: Int, last: Int)], _ stream: some ValueStream) throws -> [[OrderStatistic]] {
        var open: [Int: [Float]] = [:], found = populations.map { _ in [OrderStatistic]() }
        try stream.inOrder { piece in
            try values(of: piece, stream).map { population, values in
                extents[population].first == extents[population].last
                    ? Part(population, resolved: resolve(values, population)) : Part(population, waiting: values)
            }
        } _: { piece, parts in
            for part in parts {
                guard part.resolved.isEmpty else { found[part.population] = part.resolved; continue }
                open[part.population, default: []] += part.waiting
                guard extents[part.population].last == piece, let all = open.removeValue(forKey: part.population) else {
                    continue
                }
                found[part.population] = resolve(all, part.population)
            }
        }
        return found
    }

    /// What a piece has of a population: its statistics where that is all there is, values otherwise.
    private struct Part: Sendable {
        let population: Int
        var resolved: [OrderStatistic] = []
        var waiting: [Float] = []

        init(_ population: Int, resolved: [OrderStatistic]) {
            (self.population, self.resolved) = (population, resolved)
        }
        init(_ population: Int, waiting: [Float]) { (self.population, self.waiting) = (population, waiting) }
    }

    /// By population.
    private func values(of piece: Int, _ stream: some ValueStream) throws -> [Int: [Float]] {
        var values: [Int: [Float]] = [:]
        try stream.forEachRow(of: piece) { row, part in values[rows.population(row), default: []] += part }
        return values
    }

    private func resolve(_ values: [Float], _ population: Int) -> [OrderStatistic] {
        values.isEmpty ? [] : orderStatistics(values, ranks: populations[population].ranks)
    }
}
