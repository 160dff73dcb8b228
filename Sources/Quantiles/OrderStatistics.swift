import Scratch

/// A population's k-th smallest value, how many lie below it and how many equal it.
package struct OrderStatistic: Equatable, Sendable {
    package var value: Float
    package var below: Int
    package var equal: Int

    package init(value: Float, below: Int, equal: Int) { (self.value, self.below, self.equal) = (value, below, equal) }
}

/// The ranks, from 0, that a quantile lies between, and the quantile itself by linear interpolation (torch's and
/// NumPy's default).
package struct QuantilePlace {
    /// How far beyond the lower rank, as a part of the way to the next one.
    private let rest: Double
    package let ranks: [Int]

    package init(_ q: Share, of count: Int) {
        let (lower, rest) = q.part(of: count - 1)
        self.rest = rest
        ranks = lower + 1 < count ? [lower, lower + 1] : [lower]
    }

    package func value(_ statistics: some Collection<OrderStatistic>) -> Double {
        let values = statistics.map { Double($0.value) }
        return values.count == 1 ? values[0] : values[0] + (values[1] - values[0]) * rest
    }

    /// The smallest of the values that are not below the quantile, whatever its interpolation is rounded to.
    package func leastAbove(_ statistics: [OrderStatistic]) -> Float {
        rest > 0 && statistics.count > 1 ? statistics[1].value : statistics[0].value
    }

    /// The largest of those that are not above it.
    package func mostBelow(_ statistics: [OrderStatistic]) -> Float { statistics[0].value }
}

/// Values that compete with each other: how many there are, and which ranks among them are wanted, ascending.
package struct Population: Sendable {
    package var count: Int
    package var ranks: [Int]

    package init(count: Int = 0, ranks: [Int] = []) { (self.count, self.ranks) = (count, ranks) }
}

/// Exact order statistics of a population in memory: by sorting where it is small, by counting where it is not.
package func orderStatistics(_ values: [Float], ranks: [Int]) -> [OrderStatistic] {
    guard values.count > 1 << 12 else {
        let sorted = SortedFloats(values)
        return ranks.map { sorted.statistic($0) }
    }
    // As many counters as values: more would cost more than they save.
    var radix = RadixSelect(
        [Population(count: values.count, ranks: ranks)], mostCounters: min(1 << 18, values.count))
    while !radix.isDone {
        let counters = radix.round.counters()
        values.withUnsafeBufferPointer { counters.add($0, to: 0) }
        radix.endRound(counters)
    }
    return radix.statistics[0]
}

/// Unsigned integers in the order of the floats.
enum FloatOrder {
    /// Of a float's bits; those of -0 are to have been made those of 0 before.
    static func key(_ bits: UInt32) -> UInt32 {
        bits ^ (UInt32(bitPattern: Int32(bitPattern: bits) >> 31) | 0x8000_0000)
    }

    /// Adding 0 makes -0 what it equals.
    static func key(_ value: Float) -> UInt32 { key((value + 0).bitPattern) }

    /// The other way.
    static func bits(_ key: UInt32) -> UInt32 { key >> 31 == 1 ? key ^ 0x8000_0000 : ~key }

    static func value(_ key: UInt32) -> Float { Float(bitPattern: bits(key)) }
}

/// Exact order statistics of any number of populations of any size, by counting: each round goes through all values
/// once and fixes the next leading bits of every wanted one, as many as the counters have room for. Counts don't depend
/// on the order of the values or on who counts them, so nor does the result.
struct RadixSelect {
    /// A wanted rank on its way: its leading bits so far, its rank among the values that share them, and how many lie
    /// below those.
    private struct Target {
        let population: Int
        var cell = 0
        var prefix: UInt32 = 0
        var rank: Int
        var below = 0
        var equal = 0
    }

    private var targets: [Target]
    private let populations: Int
    private let mostCounters: Int
    private(set) var round: RadixRound

    init(_ populations: [Population], mostCounters: Int) {
        self.mostCounters = mostCounters
        self.populations = populations.count
        targets = populations.enumerated().flatMap { number, population in
            population.ranks.map { Target(population: number, rank: $0) }
        }
        round = RadixRound(doneBits: 0, cells: [], prefixes: [], mostCounters: mostCounters)
        beginRound(doneBits: 0)
    }

    var isDone: Bool { round.doneBits == 32 }

    private mutating func beginRound(doneBits: Int) {
        var prefixes: [UInt32] = [], cells = [Range<Int>](repeating: 0..<0, count: populations)
        for index in targets.indices {
            let isFirst = index == 0 || targets[index - 1].population != targets[index].population
            if isFirst || targets[index - 1].prefix != targets[index].prefix { prefixes.append(targets[index].prefix) }
            targets[index].cell = prefixes.count - 1
            let population = targets[index].population
            cells[population] = (isFirst ? prefixes.count - 1 : cells[population].lowerBound)..<prefixes.count
        }
        round = RadixRound(doneBits: doneBits, cells: cells, prefixes: prefixes, mostCounters: mostCounters)
    }

    /// `counters`: of all values, whoever counted them.
    mutating func endRound(_ counters: RadixCounters) {
        var cell = -1, counts: [Int] = [], bin = 0, below = 0
        for index in targets.indices {
            // Targets of a cell stand side by side, by rank: each goes on where the one before it ended.
            if targets[index].cell != cell {
                (cell, counts, bin, below) = (targets[index].cell, counters.counts(of: targets[index].cell), 0, 0)
            }
            while targets[index].rank >= below + counts[bin] {
                below += counts[bin]
                bin += 1
            }
            targets[index].below += below
            targets[index].rank -= below
            targets[index].equal = counts[bin]
            targets[index].prefix = targets[index].prefix << UInt32(round.width) | UInt32(bin)
        }
        beginRound(doneBits: round.doneBits + round.width)
    }

    /// By population, in the order of the ranks.
    var statistics: [[OrderStatistic]] {
        var found = [[OrderStatistic]](repeating: [], count: populations)
        for target in targets {
            found[target.population].append(
                OrderStatistic(value: FloatOrder.value(target.prefix), below: target.below, equal: target.equal))
        }
        return found
    }
}

/// What a round of counting looks for: values that share their leading bits with a wanted one, by the bits that follow.
struct RadixRound: Sendable {
    let doneBits: Int
    let width: Int
    /// Distinct prefixes, those of a population side by side.
    fileprivate let prefixes: [UInt32]
    fileprivate let cells: [Range<Int>]
    /// By a float's own leading bits the cell that counts them, or -1; where there is one population and few leading
    /// bits.
    fileprivate var lookup: [Int16] = []

    init(doneBits: Int, cells: [Range<Int>], prefixes: [UInt32], mostCounters: Int) {
        (self.doneBits, self.cells, self.prefixes) = (doneBits, cells, prefixes)
        let room = max(2, mostCounters / max(1, prefixes.count))
        width = min(16, 32 - doneBits, Int.bitWidth - 1 - room.leadingZeroBitCount)
        guard cells.count == 1, doneBits > 0, doneBits <= 16 else { return }
        lookup = [Int16](repeating: -1, count: 1 << doneBits)
        for (cell, prefix) in prefixes.enumerated() {
            lookup[Int(FloatOrder.bits(prefix << above) >> above)] = Int16(cell)
        }
    }

    /// All at 0; one for each thread.
    func counters() -> RadixCounters { RadixCounters(self) }

    fileprivate var shift: UInt32 { UInt32(32 - doneBits - width) }
    fileprivate var above: UInt32 { UInt32(32 - doneBits) }
    fileprivate var low: UInt32 { UInt32(1) << UInt32(width) - 1 }
}

/// Counts of one round, by cell and digit. For one thread at a time.
final class RadixCounters: @unchecked Sendable {
    private let round: RadixRound
    private var counts: [Int]
    /// Of the first round of one population, by the floats' own leading bits and twice: equal values one after the
    /// other would wait for each other's counts.
    private var ownBits: [Int] = []

    fileprivate init(_ round: RadixRound) {
        self.round = round
        counts = [Int](repeating: 0, count: round.prefixes.count << round.width)
        if round.doneBits == 0, round.cells.count == 1 { ownBits = [Int](repeating: 0, count: 2 << round.width) }
    }

    /// Values of one population; once each in every round, in any order.
    func add(_ values: UnsafeBufferPointer<Float>, to population: Int) {
        if !ownBits.isEmpty { return countOwnBits(values) }
        guard round.lookup.isEmpty else { return lookUp(values) }
        for cell in round.cells[population] { round.doneBits == 0 ? countAll(values, cell) : count(values, cell) }
    }

    private func countOwnBits(_ values: UnsafeBufferPointer<Float>) {
        let shift = round.shift, half = 1 << round.width
        ownBits.withUnsafeMutableBufferPointer { counters in
            let even = counters.baseAddress!, odd = even + half
            for pair in 0..<values.count / 2 {
                even[Int((values[2 * pair] + 0).bitPattern >> shift)] &+= 1
                odd[Int((values[2 * pair + 1] + 0).bitPattern >> shift)] &+= 1
            }
            if values.count % 2 == 1 { even[Int((values[values.count - 1] + 0).bitPattern >> shift)] &+= 1 }
        }
    }

    /// Few values share a wanted prefix, and which do is hard to foresee: they are gathered first, without a branch.
    private func lookUp(_ values: UnsafeBufferPointer<Float>) {
        let above = round.above
        withUnsafeTemporaryAllocation(of: UInt32.self, capacity: values.count + 1) { found in
            var count = 0
            round.lookup.withUnsafeBufferPointer { lookup in
                for value in values {
                    let bits = (value + 0).bitPattern
                    found[count] = bits
                    count += lookup[Int(bits >> above)] >= 0 ? 1 : 0
                }
            }
            countFound(found[..<count])
        }
    }

    /// By a float's own bits.
    private func countFound(_ found: Slice<UnsafeMutableBufferPointer<UInt32>>) {
        let above = round.above, shift = round.shift, low = round.low, width = round.width
        for bits in found {
            counts[Int(round.lookup[Int(bits >> above)]) << width + Int(FloatOrder.key(bits) >> shift & low)] &+= 1
        }
    }

    private func countAll(_ values: UnsafeBufferPointer<Float>, _ cell: Int) {
        let shift = round.shift, width = round.width
        counts.withUnsafeMutableBufferPointer { counters in
            let counters = counters.baseAddress! + cell << width
            for value in values { counters[Int(FloatOrder.key(value) >> shift)] &+= 1 }
        }
    }

    private func count(_ values: UnsafeBufferPointer<Float>, _ cell: Int) {
        let prefix = round.prefixes[cell], above = round.above, shift = round.shift, low = round.low,
            width = round.width
        counts.withUnsafeMutableBufferPointer { counters in
            let counters = counters.baseAddress! + cell << width
            for value in values {
                let key = FloatOrder.key(value)
                if key >> above == prefix { counters[Int(key >> shift & low)] &+= 1 }
            }
        }
    }

    /// What another thread counted in the same round.
    func add(_ other: RadixCounters) {
        for index in counts.indices { counts[index] += other.counts[index] }
        for index in ownBits.indices { ownBits[index] += other.ownBits[index] }
    }

    /// By digit.
    fileprivate func counts(of cell: Int) -> [Int] {
        guard !ownBits.isEmpty else { return Array(counts[cell << round.width..<(cell + 1) << round.width]) }
        var counts = [Int](repeating: 0, count: 1 << round.width)
        for index in ownBits.indices {
            let bits = UInt32(index & (1 << round.width - 1)) << round.shift
            counts[Int(FloatOrder.key(bits) >> round.shift)] += ownBits[index]
        }
        return counts
    }
}

/// Values that stream by as often as they are asked for, in pieces: each row's at its trainable tokens.
package protocol ValueStream: Sendable {
    /// Rows by their number, those of a piece in one chunk.
    var pieces: [Range<Int>] { get }
    /// How many values each piece has.
    var counts: [Int] { get }
    /// On any thread, in the order of the rows. Numbers last for the call alone.
    func forEachRow(of piece: Int, _ body: (_ row: Int, UnsafeBufferPointer<Float>) throws -> Void) throws
    /// The same for who looks at few of them or says himself which are no finite numbers: none is refused for that.
    func readUnchecked(at piece: Int, _ body: (_ row: Int, UnsafeBufferPointer<Float>) throws -> Void) throws
    /// Copies a few values of a piece's rows, which ascend.
    func gather(_ ranges: [GatherRange], of piece: Int, into target: UnsafeMutablePointer<Float>) throws
    /// All pieces: `produce` runs on any thread, `consume` on the calling one in their order.
    func inOrder<Value: Sendable>(_ produce: @Sendable (Int) throws -> Value, _ consume: (Int, Value) throws -> Void)
        throws
}

extension ValueStream {
    package func readUnchecked(at piece: Int, _ body: (Int, UnsafeBufferPointer<Float>) throws -> Void) throws {
        try forEachRow(of: piece, body)
    }

    package func gather(_ ranges: [GatherRange], of piece: Int, into target: UnsafeMutablePointer<Float>) throws {
        var left = ranges[...]
        try readUnchecked(at: piece) { row, values in
            while let gather = left.first, gather.row == row { left.removeFirst(); gather.copy(values, into: target) }
        }
    }
}

/// What is known of the rows of a stream before it flows: which population each belongs to, and how many values it has.
package struct StreamedRows: Sendable {
    package let count: Int
    let population: @Sendable (Int) -> Int
    let values: @Sendable (Int) -> Int

    package init(count: Int, population: @escaping @Sendable (Int) -> Int, values: @escaping @Sendable (Int) -> Int) {
        (self.count, self.population, self.values) = (count, population, values)
    }
}

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
