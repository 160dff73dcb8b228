import CKernels

/// How rows lie about a cut: what a cut there keeps of each row follows without another look at its tokens.
package struct RowsAroundCut: Sendable {
    /// Rows of each piece, and their values in the cell of the cut, row after row.
    fileprivate var pieces: [(rows: Range<Int>, values: [Float])] = []
    /// By row: how many of those are its own, and how many of its values lie above. What is neither lies below.
    fileprivate var near: [Int32] = []
    fileprivate var above: [Int32] = []

    /// `body` gets each row's values near the cut, and how many others lie above and below. `counts`: all values of each row.
    package func forEachRow(_ counts: [Int32], _ body: (_ row: Int, UnsafeBufferPointer<Float>, _ above: Int, _ below: Int) -> Void) {
        for piece in pieces {
            piece.values.withUnsafeBufferPointer { values in
                var start = 0
                for row in piece.rows {
                    let end = start + Int(near[row])
                    body(row, UnsafeBufferPointer(rebasing: values[start..<end]), Int(above[row]), Int(counts[row] - above[row] - near[row]))
                    start = end
                }
            }
        }
    }
}

/// Exact order statistics of one large population in one look at all its values: a sample tells between which values the wanted ranks lie,
/// values between the brackets are counted, and the few inside are kept and settled in memory. The outcome doesn't depend on the sample;
/// whether there is one does.
package struct BracketSelection {
    private let rows: [(population: Int32, count: Int32)]
    private let population: Population
    private let cut: [Int]
    private let mostKept: Int

    package struct Outcome {
        package let statistics: [OrderStatistic]
        /// nil where the ranks of the cut lie in several cells, or in one of equal values.
        package let around: RowsAroundCut?
    }

    /// `rows`: how many values each has. `cut`: which of the wanted ranks a cut goes by. `mostKept`: values that memory is for.
    package init(rows: [(population: Int32, count: Int32)], population: Population, cut: [Int], mostKept: Int) {
        (self.rows, self.population, self.cut, self.mostKept) = (rows, population, cut, mostKept)
    }

    /// nil where a rank lies outside its bracket, where too much would have to be kept, and where some value is no finite number.
    package func run(_ stream: some ValueStream) throws -> Outcome? {
        let places = SpreadSample(of: population.count), sample = try taken(places, stream)
        guard sample.count == places.count, sample.allSatisfy(\.isFinite) else { return nil }
        let line = NumberLine(sample: sample, run: places.run, of: population)
        guard line.edges.count <= Int(CRUX_MOST_EDGES) else { return nil }
        do { return try count(line, stream) } catch is Hopeless { return nil }
    }

    // MARK: sample

    private func taken(_ places: SpreadSample, _ stream: some ValueStream) throws -> [Float] {
        let starts = starts(stream.pieces)
        return try [Float](unsafeUninitializedCapacity: places.count) { sample, count in
            sample.initialize(repeating: .nan)
            // Each piece fills in its own numbers.
            nonisolated(unsafe) let sample = sample
            try stream.inOrder(stream.pieces.count) { piece in
                let picks = places.picks(stream.pieces[piece], from: starts[piece]) { Int(rows[$0].count) }
                try stream.pick(picks, of: piece, into: sample.baseAddress!)
                return picks.reduce(0) { $0 + $1.values.count }
            } _: {
                count += $1
            }
        }
    }

    /// How many values stand before each piece.
    private func starts(_ pieces: [Range<Int>]) -> [Int] {
        pieces.dropLast().reduce(into: [0]) { starts, piece in starts.append(piece.reduce(starts[starts.count - 1]) { $0 + Int(rows[$1].count) }) }
    }

    // MARK: count

    private struct Hopeless: Error {}

    private func count(_ line: NumberLine, _ stream: some ValueStream) throws -> Outcome? {
        let counters = IdlePool<CellCounter>(), expected = cut.first.map { line.cell(of: line.expected[$0]) }
        let watched = expected.flatMap { line.cells[$0].content == .kept ? $0 : nil }
        var total = Total(line, watched: watched, rows: rows.count)
        try stream.inOrder(stream.pieces.count) { piece in
            let counter = counters.take() ?? CellCounter(line, watched: watched)
            defer { counters.give(counter) }
            counter.begin(rows: stream.pieces[piece].count)
            try stream.glance(at: piece) { _, values in counter.add(values) }
            return counter.finish()
        } _: { piece, part in
            guard part.isFinite, total.keptCount + part.kept.reduce(0, { $0 + $1.count }) <= mostKept else { throw Hopeless() }
            total.add(part, rows: stream.pieces[piece])
        }
        return outcome(total)
    }

    /// What all pieces add up to.
    private struct Total {
        let line: NumberLine
        let watched: Int?
        /// By edge.
        var atLeast: [Int]
        /// By cell that is kept, in pieces.
        var kept: [[[Float]]]
        var keptCount = 0
        var around = RowsAroundCut()

        init(_ line: NumberLine, watched: Int?, rows: Int) {
            (self.line, self.watched, atLeast, kept) = (line, watched, line.edges.map { _ in 0 }, line.kept.map { _ in [] })
            guard watched != nil else { return }
            around.near.reserveCapacity(rows)
            around.above.reserveCapacity(rows)
        }

        mutating func add(_ part: CellCounter.Piece, rows: Range<Int>) {
            for edge in atLeast.indices { atLeast[edge] += part.atLeast[edge] }
            for cell in kept.indices {
                kept[cell].append(part.kept[cell])
                keptCount += part.kept[cell].count
            }
            guard let watched, let place = line.kept.firstIndex(of: watched) else { return }
            around.pieces.append((rows, part.kept[place]))
            around.near += part.near
            around.above += part.above
        }

        /// How many values lie in a cell, and how many below it.
        func extent(_ cell: Int, of population: Int) -> (below: Int, count: Int) {
            let reached = cell == 0 ? population : atLeast[cell - 1]
            return (population - reached, reached - (cell < atLeast.count ? atLeast[cell] : 0))
        }
    }

    /// nil where a rank lies in a cell that was passed over.
    private func outcome(_ total: Total) -> Outcome? {
        var statistics: [OrderStatistic] = [], cells: [Int] = []
        for cell in total.line.cells.indices {
            let (below, count) = total.extent(cell, of: population.count), ranks = population.ranks.filter { (below..<below + count).contains($0) }
            guard !ranks.isEmpty else { continue }
            guard let found = self.statistics(ranks, cell, total, below, count) else { return nil }
            statistics += found
            cells += ranks.map { _ in cell }
        }
        guard statistics.count == population.ranks.count else { return nil }
        let isAround = !cut.isEmpty && cut.allSatisfy { cells[$0] == total.watched && total.line.cells[cells[$0]].content == .kept }
        return Outcome(statistics: statistics, around: isAround ? total.around : nil)
    }

    private func statistics(_ ranks: [Int], _ cell: Int, _ total: Total, _ below: Int, _ count: Int) -> [OrderStatistic]? {
        let line = total.line
        switch line.cells[cell].content {
        case .passedOver: return nil
        case .single: return ranks.map { _ in OrderStatistic(value: line.cells[cell].lower, below: below, equal: count) }
        case .kept:
            guard let place = line.kept.firstIndex(of: cell) else { return nil }
            let selection = CellSelection(total.kept[place], lower: line.cells[cell].lower, end: line.cells[cell + 1].lower)
            return selection.statistics(ranks.map { $0 - below }).map { OrderStatistic(value: $0.value, below: $0.below + below, equal: $0.equal) }
        }
    }
}
