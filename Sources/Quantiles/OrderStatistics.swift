import Scratch

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

    init(_ round: RadixRound) {
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
    func counts(of cell: Int) -> [Int] {
        guard !ownBits.isEmpty else { return Array(counts[cell << round.width..<(cell + 1) << round.width]) }
        var counts = [Int](repeating: 0, count: 1 << round.width)
        for index in ownBits.indices {
            let bits = UInt32(index & (1 << round.width - 1)) << round.shift
            counts[Int(FloatOrder.key(bits) >> round.shift)] += ownBits[index]
        }
        return counts
    }
}
