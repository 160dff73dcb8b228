import Scratch

/// Order statistics of values that lie in one bracket: it is cut into bins of equal width, and
/// the bins that hold a wanted rank are gone into alone.
struct BinnedSelect {
    private let values: ScratchArray<Float>
    /// Which of them.
    private let range: Range<Int>
    private let bins: FloatBins
    private let space: ScratchSpace

    /// All values lie in `lower`..<`end`.
    init(_ values: ScratchArray<Float>, lower: Float, end: Float, _ space: ScratchSpace) {
        self.init(values, values.indices, FloatOrder.key(lower)..<FloatOrder.key(end), space)
    }

    /// Any finite values.
    init(_ values: ScratchArray<Float>, _ space: ScratchSpace) {
        self.init(values, lower: -.infinity, end: .infinity, space)
    }

    private init(_ values: ScratchArray<Float>, _ range: Range<Int>, _ keys: Range<UInt32>, _ space: ScratchSpace) {
        (self.values, self.range, bins, self.space) = (values, range, FloatBins(keys), space)
    }

    private static let fewEnough = 1 << 11

    /// Of ranks among these values, ascending.
    func statistics(_ ranks: [Int]) throws -> [OrderStatistic] {
        guard bins.keys.count > 1 else {
            return ranks.map { _ in
                OrderStatistic(value: FloatOrder.value(bins.keys.lowerBound), below: 0, equal: range.count)
            }
        }
        guard range.count > Self.fewEnough else { return resolved(ranks) }
        let wanted = wanted(ranks)
        if wanted.count == 1, wanted[0].count == range.count { return try resolve(wanted[0], values, range) }
        let scattered = try scattered(wanted)
        var start = 0
        return try wanted.flatMap { bin in
            defer { start += bin.count }
            return try resolve(bin, scattered, start..<start + bin.count)
        }
    }

    /// `values`: at `range` they are those of the bin.
    private func resolve(_ bin: WantedBin, _ values: ScratchArray<Float>, _ range: Range<Int>) throws
        -> [OrderStatistic]
    {
        try BinnedSelect(values, range, bins.keys(of: bin.number), space).statistics(bin.ranks).map {
            OrderStatistic(value: $0.value, below: $0.below + bin.below, equal: $0.equal)
        }
    }

    /// A bin with wanted ranks, counted from its first value.
    private struct WantedBin {
        let number: Int
        let below: Int
        let count: Int
        var ranks: [Int] = []
    }

    private func wanted(_ ranks: [Int]) -> [WantedBin] {
        let counts = counts()
        var wanted: [WantedBin] = [], bin = 0, below = 0
        for rank in ranks {
            while rank >= below + counts[bin] { (below, bin) = (below + counts[bin], bin + 1) }
            if wanted.last?.number != bin { wanted.append(WantedBin(number: bin, below: below, count: counts[bin])) }
            wanted[wanted.count - 1].ranks.append(rank - below)
        }
        return wanted
    }

    private func counts() -> [Int] {
        var counts = [Int](repeating: 0, count: bins.count)
        counts.withUnsafeMutableBufferPointer { counts in
            space.forEachChunk(of: values, range) { for value in $0 { counts[bins.bin(of: value)] += 1 } }
        }
        return counts
    }

    /// The values of these bins in one pass, those of a bin side by side.
    private func scattered(_ wanted: [WantedBin]) throws -> ScratchArray<Float> {
        let scattered = try ScratchTable<Float>(space, count: wanted.reduce(0) { $0 + $1.count })
        // By bin: where its next value goes; -1 for those that aren't wanted.
        var next = [Int](repeating: -1, count: bins.count), start = 0
        for bin in wanted { (next[bin.number], start) = (start, start + bin.count) }
        next.withUnsafeMutableBufferPointer { next in
            scattered.withMutableElements(0..<scattered.count) { scattered in
                space.forEachChunk(of: values, range) { chunk in
                    for value in chunk {
                        let bin = bins.bin(of: value), place = next[bin]
                        guard place >= 0 else { continue }
                        scattered[place] = value
                        next[bin] = place + 1
                    }
                }
            }
        }
        return scattered.array
    }

    private func resolved(_ ranks: [Int]) -> [OrderStatistic] {
        let sorted = SortedFloats(Array(values[range]))
        return ranks.map { sorted.statistic($0) }
    }
}

/// A chunk of the floats in bins of equally many different ones.
private struct FloatBins {
    let keys: Range<UInt32>
    private let shift: UInt32

    init(_ keys: Range<UInt32>) {
        self.keys = keys
        let width = max(1, keys.upperBound - keys.lowerBound) - 1
        shift = UInt32(max(0, 32 - width.leadingZeroBitCount - 12))
    }

    var count: Int { bin(keys.upperBound - 1) + 1 }
    func bin(of value: Float) -> Int { bin(FloatOrder.key(value)) }
    private func bin(_ key: UInt32) -> Int { Int((key &- keys.lowerBound) >> shift) }

    func keys(of bin: Int) -> Range<UInt32> {
        let start = keys.lowerBound + UInt32(bin) << shift
        return start..<min(keys.upperBound, start + (1 << shift))
    }
}
