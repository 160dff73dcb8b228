import CKernels
import Scratch

/// How rows lie about a cut: what a cut there keeps of each row follows without another look at its tokens.
package struct RowsAroundCut: Sendable {
    /// Of a row's values: how many lie in the cell of the cut, and how many above it. What is neither lies below.
    struct Row: BitwiseCopyable, Sendable {
        let near: Int32
        let above: Int32
    }

    fileprivate let rows: ScratchArray<Row>
    /// Those in the cell, row after row.
    fileprivate let values: ScratchArray<Float>

    /// `body` gets each row's values near the cut, and how many others lie above and below. `counts`: all values of
    /// each row.
    package func forEachRow(
        _ space: ScratchSpace, _ counts: (Int) -> Int,
        _ body: (_ row: Int, UnsafeBufferPointer<Float>, _ above: Int, _ below: Int) throws -> Void
    ) rethrows {
        var start = 0
        try space.forEach(rows.indices) { index in
            let row = rows[index], near = start..<start + Int(row.near)
            try values.withElements(near) {
                try body(index, $0, Int(row.above), counts(index) - Int(row.above) - Int(row.near))
            }
            start = near.upperBound
        }
    }
}

/// Exact order statistics of one large population in one look at all its values: a sample tells between which values
/// the wanted ranks lie, values between the brackets are counted, and the few inside are kept and settled in memory.
/// The outcome doesn't depend on the sample; whether there is one does.
package struct BracketSelection {
    private let rows: StreamedRows
    private let population: Population
    private let cut: [Int]
    private let mostKept: Int
    private let space: ScratchSpace

    package struct Outcome {
        package let statistics: [OrderStatistic]
        /// nil where the ranks of the cut lie in several cells, or in one of equal values.
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
        let places = SpreadSample(of: population.count), sample = try taken(places, stream)
        guard let sample else { return nil }
        let line = try NumberLine(sample: sample, run: places.run, of: population, space: space)
        guard line.edges.count <= Int(CRUX_MOST_EDGES) else { return nil }
        do { return try count(line, stream) } catch is Hopeless { return nil }
    }

    // MARK: sample

    /// nil where a value is missing or no finite number.
    private func taken(_ places: SpreadSample, _ stream: some ValueStream) throws -> ScratchArray<Float>? {
        let starts = stream.counts.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1) }
        var sample = ScratchWriter<Float>(space), isFinite = true
        try stream.inOrder { piece in
            let picks = places.picks(stream.pieces[piece], from: starts[piece], counts: rows.values)
            return try values(picks, of: piece, stream)
        } _: { _, values in
            isFinite = isFinite && values.allSatisfy(\.isFinite)
            try values.withUnsafeBufferPointer { try sample.append(contentsOf: $0) }
        }
        return sample.count == places.count && isFinite ? try sample.finish() : nil
    }

    /// Side by side; NaN where a row has none.
    private func values(_ picks: [ValuePick], of piece: Int, _ stream: some ValueStream) throws -> [Float] {
        guard let first = picks.first?.target else { return [] }
        let picks = picks.map { ValuePick(row: $0.row, values: $0.values, target: $0.target - first) }
        var values = [Float](repeating: .nan, count: picks.reduce(0) { $0 + $1.values.count })
        try values.withUnsafeMutableBufferPointer { try stream.pick(picks, of: piece, into: $0.baseAddress!) }
        return values
    }

    // MARK: count

    private struct Hopeless: Error {}

    private func count(_ line: NumberLine, _ stream: some ValueStream) throws -> Outcome? {
        let counters = IdlePool<CellCounter>(), expected = cut.first.map { line.cell(of: line.expected[$0]) }
        let watched = expected.flatMap { line.cells[$0].content == .kept ? $0 : nil }
        var total = Total(line, watched: watched, space)
        try stream.inOrder { piece in
            let counter = counters.take() ?? CellCounter(line, watched: watched)
            defer { counters.give(counter) }
            counter.begin(rows: stream.pieces[piece].count)
            try stream.glance(at: piece) { _, values in counter.add(values) }
            return counter.finish()
        } _: { _, part in
            guard part.isFinite, total.keptCount + part.kept.reduce(0, { $0 + $1.count }) <= mostKept else {
                throw Hopeless()
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
        private let line: NumberLine
        private(set) var keptCount = 0

        init(_ line: NumberLine, watched: Int?, _ space: ScratchSpace) {
            (self.line, self.watched) = (line, watched)
            (atLeast, kept, rows) = (
                line.edges.map { _ in 0 }, line.kept.map { _ in ScratchWriter(space) }, ScratchWriter(space)
            )
        }

        mutating func add(_ part: CellCounter.Piece) throws {
            for edge in atLeast.indices { atLeast[edge] += part.atLeast[edge] }
            for cell in kept.indices {
                try part.kept[cell].withUnsafeBufferPointer { try kept[cell].append(contentsOf: $0) }
                keptCount += part.kept[cell].count
            }
            try part.rows.withUnsafeBufferPointer { try rows.append(contentsOf: $0) }
        }

        mutating func finish() throws -> Counted {
            let kept = try kept.indices.map { try self.kept[$0].finish() },
                place = watched.flatMap { line.kept.firstIndex(of: $0) }
            let around = try place.map { RowsAroundCut(rows: try rows.finish(), values: kept[$0]) }
            return Counted(line: line, watched: watched, atLeast: atLeast, kept: kept, around: around)
        }
    }

    /// All values, counted.
    private struct Counted {
        let line: NumberLine
        let watched: Int?
        /// By edge.
        let atLeast: [Int]
        /// By cell that is kept.
        let kept: [ScratchArray<Float>]
        let around: RowsAroundCut?

        /// How many values lie in a cell, and how many below it.
        func extent(_ cell: Int, of population: Int) -> (below: Int, count: Int) {
            let reached = cell == 0 ? population : atLeast[cell - 1]
            return (population - reached, reached - (cell < atLeast.count ? atLeast[cell] : 0))
        }
    }

    /// nil where a rank lies in a cell that was passed over.
    private func outcome(_ total: Counted) throws -> Outcome? {
        var statistics: [OrderStatistic] = [], cells: [Int] = []
        for cell in total.line.cells.indices {
            let (below, count) = total.extent(cell, of: population.count),
                ranks = population.ranks.filter { (below..<below + count).contains($0) }
            guard !ranks.isEmpty else { continue }
            guard let found = try self.statistics(ranks, cell, total, below, count) else { return nil }
            statistics += found
            cells += ranks.map { _ in cell }
        }
        guard statistics.count == population.ranks.count else { return nil }
        let isAround =
            !cut.isEmpty
            && cut.allSatisfy { cells[$0] == total.watched && total.line.cells[cells[$0]].content == .kept }
        return Outcome(statistics: statistics, around: isAround ? total.around : nil)
    }

    private func statistics(_ ranks: [Int], _ cell: Int, _ total: Counted, _ below: Int, _ count: Int) throws
        -> [OrderStatistic]?
    {
        let line = total.line
        switch line.cells[cell].content {
        case .passedOver: return nil
        case .single:
            return ranks.map { _ in OrderStatistic(value: line.cells[cell].lower, below: below, equal: count) }
        case .kept:
            guard let place = line.kept.firstIndex(of: cell) else { return nil }
            let selection = CellSelection(
                total.kept[place], lower: line.cells[cell].lower, end: line.cells[cell + 1].lower, space)
            return try selection.statistics(ranks.map { $0 - below }).map {
                OrderStatistic(value: $0.value, below: $0.below + below, equal: $0.equal)
            }
        }
    }
}
