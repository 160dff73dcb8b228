import CKernels
import Scratch

/// Exact order statistics of one large population in one look at all its values: a sample tells between which values
/// the wanted ranks lie, values between the brackets are counted, and the few inside are kept and ranked in memory.
/// The outcome doesn't depend on the sample; whether there is one does.
package struct BracketedSelect {
    private let rows: StreamedRows
    private let population: Population
    private let cut: [Int]
    private let mostKept: Int
    private let space: ScratchSpace

    package struct Outcome {
        package let statistics: [OrderStatistic]
        /// nil where the ranks of the cut lie in several brackets, or in one of equal values.
        package let around: RowsAroundCut?
    }

    /// `cut`: which of the wanted ranks a cut goes by. `mostKept`: values beyond which another way is better. `space`:
    /// for those.
    package init(rows: StreamedRows, population: Population, cut: [Int], mostKept: Int, space: ScratchSpace) {
        (self.rows, self.population, self.cut, self.mostKept, self.space) = (rows, population, cut, mostKept, space)
    }

    /// nil where a rank lies outside its bracket, where too much would have to be kept, and where some value is no
    /// finite number.
    package func run(_ stream: some ValueStream) throws -> Outcome? {
        let places = StratifiedSample(of: population.count), sample = try taken(places, stream)
        guard let sample else { return nil }
        let layout = try SampleBrackets(sample: sample, run: places.run, of: population, space: space)
        guard layout.edges.count <= Int(CRUX_MOST_EDGES) else { return nil }
        do { return try count(layout, stream) } catch is Unresolvable { return nil }
    }

    // MARK: sample

    /// nil where a value is missing or no finite number.
    private func taken(_ places: StratifiedSample, _ stream: some ValueStream) throws -> ScratchArray<Float>? {
        let starts = stream.counts.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1) }
        var sample = ScratchWriter<Float>(space), isFinite = true
        try stream.inOrder { piece in
            let ranges = places.ranges(stream.pieces[piece], from: starts[piece], counts: rows.values)
            return try values(ranges, of: piece, stream)
        } _: { _, values in
            isFinite = isFinite && values.allSatisfy(\.isFinite)
            try values.withUnsafeBufferPointer { try sample.append(contentsOf: $0) }
        }
        return sample.count == places.count && isFinite ? try sample.finish() : nil
    }

    /// Side by side; NaN where a row has none.
    private func values(_ ranges: [GatherRange], of piece: Int, _ stream: some ValueStream) throws -> [Float] {
        guard let first = ranges.first?.target else { return [] }
        let ranges = ranges.map { GatherRange(row: $0.row, values: $0.values, target: $0.target - first) }
        var values = [Float](repeating: .nan, count: ranges.reduce(0) { $0 + $1.values.count })
        try values.withUnsafeMutableBufferPointer { try stream.gather(ranges, of: piece, into: $0.baseAddress!) }
        return values
    }

    // MARK: count

    private struct Unresolvable: Error {}

    private func count(_ layout: SampleBrackets, _ stream: some ValueStream) throws -> Outcome? {
        let counters = IdlePool<BracketHistogram>(),
            expected = cut.first.map { layout.bracket(of: layout.expected[$0]) }
        let watched = expected.flatMap { layout.brackets[$0].content == .kept ? $0 : nil }
        var total = Total(layout, watched: watched, space)
        try stream.inOrder { piece in
            let counter = counters.take() ?? BracketHistogram(layout, watched: watched)
            defer { counters.give(counter) }
            counter.begin(rows: stream.pieces[piece].count)
            try stream.readUnchecked(at: piece) { _, values in counter.add(values) }
            return counter.finish()
        } _: { _, part in
            guard part.isFinite, total.keptCount + part.kept.reduce(0, { $0 + $1.count }) <= mostKept else {
                throw Unresolvable()
            }
            try total.add(part)
        }
        return try outcome(try total.finish())
    }

    /// What all pieces add up to.
    private struct Total {
        private let watched: Int?
        private var atLeast: [Int]
        private var kept: [ScratchWriter<Float>]
        private var rows: ScratchWriter<RowsAroundCut.Row>
        private let layout: SampleBrackets
        private(set) var keptCount = 0

        init(_ layout: SampleBrackets, watched: Int?, _ space: ScratchSpace) {
            (self.layout, self.watched) = (layout, watched)
            (atLeast, kept, rows) = (
                layout.edges.map { _ in 0 }, layout.kept.map { _ in ScratchWriter(space) }, ScratchWriter(space)
            )
        }

        mutating func add(_ part: BracketHistogram.Piece) throws {
            for edge in atLeast.indices { atLeast[edge] += part.atLeast[edge] }
            for bracket in kept.indices {
                try part.kept[bracket].withUnsafeBufferPointer { try kept[bracket].append(contentsOf: $0) }
                keptCount += part.kept[bracket].count
            }
            try part.rows.withUnsafeBufferPointer { try rows.append(contentsOf: $0) }
        }

        mutating func finish() throws -> Counted {
            let kept = try kept.indices.map { try self.kept[$0].finish() },
                place = watched.flatMap { layout.kept.firstIndex(of: $0) }
            let around = try place.map { RowsAroundCut(rows: try rows.finish(), values: kept[$0]) }
            return Counted(layout: layout, watched: watched, atLeast: atLeast, kept: kept, around: around)
        }
    }

    /// All values, counted.
    private struct Counted {
        let layout: SampleBrackets
        let watched: Int?
        /// By edge.
        let atLeast: [Int]
        /// By bracket that is kept.
        let kept: [ScratchArray<Float>]
        let around: RowsAroundCut?

        /// How many values lie in a bracket, and how many below it.
        func extent(_ bracket: Int, of population: Int) -> (below: Int, count: Int) {
            let reached = bracket == 0 ? population : atLeast[bracket - 1]
            return (population - reached, reached - (bracket < atLeast.count ? atLeast[bracket] : 0))
        }
    }

    /// nil where a rank lies in a bracket that was passed over.
    private func outcome(_ total: Counted) throws -> Outcome? {
        var statistics: [OrderStatistic] = [], brackets: [Int] = []
        for bracket in total.layout.brackets.indices {
            let (below, count) = total.extent(bracket, of: population.count),
                ranks = population.ranks.filter { (below..<below + count).contains($0) }
            guard !ranks.isEmpty else { continue }
            guard let found = try self.statistics(ranks, bracket, total, below, count) else { return nil }
            statistics += found
            brackets += ranks.map { _ in bracket }
        }
        guard statistics.count == population.ranks.count else { return nil }
        let isAround =
            !cut.isEmpty
            && cut.allSatisfy { brackets[$0] == total.watched && total.layout.brackets[brackets[$0]].content == .kept }
        return Outcome(statistics: statistics, around: isAround ? total.around : nil)
    }

    private func statistics(_ ranks: [Int], _ bracket: Int, _ total: Counted, _ below: Int, _ count: Int) throws
        -> [OrderStatistic]?
    {
        let layout = total.layout
        switch layout.brackets[bracket].content {
        case .passedOver: return nil
        case .single:
            return ranks.map { _ in OrderStatistic(value: layout.brackets[bracket].lower, below: below, equal: count) }
        case .kept:
            guard let place = layout.kept.firstIndex(of: bracket) else { return nil }
            let selection = BinnedSelect(
                total.kept[place], lower: layout.brackets[bracket].lower, end: layout.brackets[bracket + 1].lower, space
            )
            return try selection.statistics(ranks.map { $0 - below }).map {
                OrderStatistic(value: $0.value, below: $0.below + below, equal: $0.equal)
            }
        }
    }
}
