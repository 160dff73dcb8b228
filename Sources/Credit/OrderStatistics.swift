/// A population's k-th smallest value, how many lie below it and how many equal it.
package struct OrderStatistic: Equatable, Sendable {
    package var value: Float
    package var below: Int
    package var equal: Int
}

/// The ranks, from 0, that a quantile lies between, and the quantile itself by linear interpolation (torch's and NumPy's default).
struct QuantilePlace {
    private let position: Double
    let ranks: [Int]

    init(_ q: Double, of count: Int) {
        position = q * Double(count - 1)
        let lower = Int(position)
        ranks = lower + 1 < count ? [lower, lower + 1] : [lower]
    }

    func value(_ statistics: some Collection<OrderStatistic>) -> Double {
        let values = statistics.map { Double($0.value) }
        return values.count == 1 ? values[0] : values[0] + (values[1] - values[0]) * (position - Double(ranks[0]))
    }
}

/// Values that compete with each other: how many there are, and which ranks among them are wanted, ascending.
package struct Population: Sendable {
    package var count: Int
    package var ranks: [Int]

    package init(count: Int = 0, ranks: [Int] = []) { (self.count, self.ranks) = (count, ranks) }
}

/// Exact order statistics of a population in memory: by sorting where it is small, by counting where it is not.
func orderStatistics(_ values: [Float], ranks: [Int]) -> [OrderStatistic] {
    guard values.count > 1 << 12 else { return sorted(values, ranks) }
    // As many counters as values: more would cost more than they save.
    var radix = RadixSelection([Population(count: values.count, ranks: ranks)], mostCounters: min(1 << 18, values.count))
    while !radix.isDone {
        radix.add(values, to: 0)
        radix.endRound()
    }
    return radix.statistics[0]
}

private func sorted(_ values: [Float], _ ranks: [Int]) -> [OrderStatistic] {
    let sorted = values.sorted()
    return ranks.map { rank in
        var below = rank, end = rank + 1
        while below > 0, sorted[below - 1] == sorted[rank] { below -= 1 }
        while end < sorted.count, sorted[end] == sorted[rank] { end += 1 }
        return OrderStatistic(value: sorted[rank], below: below, equal: end - below)
    }
}

/// Exact order statistics of any number of populations of any size, by counting: each round goes through all values once and
/// fixes the next leading bits of every wanted one, as many as the counters have room for. Counts don't depend on the order of
/// the values, so nor does the result.
struct RadixSelection {
    /// A wanted rank on its way: its leading bits so far, its rank among the values that share them, and how many lie below those.
    private struct Target {
        let population: Int
        var cell = 0
        var prefix: UInt32 = 0
        var rank: Int
        var below = 0
        var equal = 0
    }

    private var targets: [Target]
    /// Distinct prefixes, those of a population side by side.
    private var prefixes: [UInt32] = []
    private var cells: [Range<Int>]
    private var counters: [Int] = []
    /// By leading bits the cell that counts them, or -1; where there is one population and few leading bits.
    private var lookup: [Int16] = []
    private var doneBits = 0
    private var width = 0
    private let mostCounters: Int

    init(_ populations: [Population], mostCounters: Int) {
        self.mostCounters = mostCounters
        targets = populations.enumerated().flatMap { number, population in population.ranks.map { Target(population: number, rank: $0) } }
        cells = populations.map { _ in 0..<0 }
        beginRound()
    }

    var isDone: Bool { doneBits == 32 }

    private mutating func beginRound() {
        prefixes = []
        for index in targets.indices {
            let isFirst = index == 0 || targets[index - 1].population != targets[index].population
            if isFirst || targets[index - 1].prefix != targets[index].prefix { prefixes.append(targets[index].prefix) }
            targets[index].cell = prefixes.count - 1
            let population = targets[index].population
            cells[population] = (isFirst ? prefixes.count - 1 : cells[population].lowerBound)..<prefixes.count
        }
        let room = max(2, mostCounters / max(1, prefixes.count))
        width = min(16, 32 - doneBits, Int.bitWidth - 1 - room.leadingZeroBitCount)
        counters = [Int](repeating: 0, count: prefixes.count << width)
        lookup = []
        guard cells.count == 1, doneBits > 0, doneBits <= 16 else { return }
        lookup = [Int16](repeating: -1, count: 1 << doneBits)
        for (cell, prefix) in prefixes.enumerated() { lookup[Int(prefix)] = Int16(cell) }
    }

    /// Values of one population; once each in every round, in any order.
    mutating func add(_ values: [Float], to population: Int) {
        guard lookup.isEmpty else { return lookUp(values) }
        for cell in cells[population] { doneBits == 0 ? countAll(values, cell) : count(values, cell) }
    }

    private mutating func lookUp(_ values: [Float]) {
        let above = UInt32(32 - doneBits), shift = UInt32(32 - doneBits - width), low = UInt32(1) << UInt32(width) - 1
        counters.withUnsafeMutableBufferPointer { counters in
            lookup.withUnsafeBufferPointer { lookup in
                values.withUnsafeBufferPointer { values in
                    for value in values {
                        let key = Self.key(value), cell = lookup[Int(key >> above)]
                        if cell >= 0 { counters[Int(cell) << width + Int(key >> shift & low)] += 1 }
                    }
                }
            }
        }
    }

    private mutating func countAll(_ values: [Float], _ cell: Int) {
        let shift = UInt32(32 - width)
        counters.withUnsafeMutableBufferPointer { counters in
            let counters = counters.baseAddress! + cell << width
            values.withUnsafeBufferPointer { for value in $0 { counters[Int(Self.key(value) >> shift)] += 1 } }
        }
    }

    private mutating func count(_ values: [Float], _ cell: Int) {
        let prefix = prefixes[cell], above = UInt32(32 - doneBits), shift = UInt32(32 - doneBits - width), low = UInt32(1) << UInt32(width) - 1
        counters.withUnsafeMutableBufferPointer { counters in
            let counters = counters.baseAddress! + cell << width
            values.withUnsafeBufferPointer { values in
                for value in values {
                    let key = Self.key(value)
                    if key >> above == prefix { counters[Int(key >> shift & low)] += 1 }
                }
            }
        }
    }

    mutating func endRound() {
        for index in targets.indices {
            let counts = counters[targets[index].cell << width..<(targets[index].cell + 1) << width]
            var bin = 0, left = targets[index].rank
            for count in counts {
                if left < count { break }
                left -= count
                bin += 1
            }
            targets[index].below += targets[index].rank - left
            targets[index].rank = left
            targets[index].equal = counts[counts.startIndex + bin]
            targets[index].prefix = targets[index].prefix << UInt32(width) | UInt32(bin)
        }
        doneBits += width
        if !isDone { beginRound() } else { counters = [] }
    }

    /// By population, in the order of the ranks.
    var statistics: [[OrderStatistic]] {
        var found = cells.map { _ in [OrderStatistic]() }
        for target in targets { found[target.population].append(OrderStatistic(value: Self.value(target.prefix), below: target.below, equal: target.equal)) }
        return found
    }

    /// Unsigned integers in the order of the floats. Adding 0 makes -0 what it equals.
    private static func key(_ value: Float) -> UInt32 {
        let bits = (value + 0).bitPattern
        return bits ^ (UInt32(bitPattern: Int32(bitPattern: bits) >> 31) | 0x8000_0000)
    }

    private static func value(_ key: UInt32) -> Float { Float(bitPattern: key >> 31 == 1 ? key ^ 0x8000_0000 : ~key) }
}

/// Order statistics of populations whose values stream by, each in one piece or in several: a population that is complete
/// before too many others have begun is settled at once, in one pass; where too much would have to wait, all are counted.
package struct StreamedSelection {
    private let pieces: [(population: Int32, count: Int32)]
    private let populations: [Population]
    private let mostWaiting: Int
    private let mostCounters: Int

    /// `pieces`: population and count of each, in the order in which they stream by. `mostWaiting`: values that may wait for their population
    /// to be complete (64 MB of them). `mostCounters`: 32 MB.
    package init(pieces: [(population: Int32, count: Int32)], populations: [Population], mostWaiting: Int = 1 << 24, mostCounters: Int = 1 << 22) {
        (self.pieces, self.populations, self.mostWaiting, self.mostCounters) = (pieces, populations, mostWaiting, mostCounters)
    }

    /// `pass` streams all pieces by, once.
    package func run(_ pass: ((_ piece: Int, _ values: [Float]) -> Void) throws -> Void) throws -> [[OrderStatistic]] {
        guard peakWaiting > mostWaiting else { return try waiting(pass) }
        var radix = RadixSelection(populations, mostCounters: mostCounters)
        while !radix.isDone {
            try pass { piece, values in radix.add(values, to: Int(pieces[piece].population)) }
            radix.endRound()
        }
        return radix.statistics
    }

    private var lastPiece: [Int] {
        var last = [Int](repeating: -1, count: populations.count)
        for (index, piece) in pieces.enumerated() { last[Int(piece.population)] = index }
        return last
    }

    private var peakWaiting: Int {
        let last = lastPiece
        var waiting = 0, peak = 0
        for (index, piece) in pieces.enumerated() {
            waiting += Int(piece.count)
            peak = max(peak, waiting)
            if last[Int(piece.population)] == index { waiting -= populations[Int(piece.population)].count }
        }
        return peak
    }

    private func waiting(_ pass: ((Int, [Float]) -> Void) throws -> Void) throws -> [[OrderStatistic]] {
        let last = lastPiece
        var open: [Int: [Float]] = [:], found = populations.map { _ in [OrderStatistic]() }
        try pass { index, values in
            let population = Int(pieces[index].population)
            open[population, default: []] += values
            guard last[population] == index, let all = open.removeValue(forKey: population) else { return }
            found[population] = orderStatistics(all, ranks: populations[population].ranks)
        }
        return found
    }
}
