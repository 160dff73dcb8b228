/// Order statistics of values that lie in one cell of the number line, in pieces: the cell is cut into bins of equal width, and the bins
/// that hold a wanted rank are settled alone.
struct CellSelection {
    private let pieces: [[Float]]
    private let bins: FloatBins

    /// All values lie in `lower`..<`end`.
    init(_ pieces: [[Float]], lower: Float, end: Float) {
        self.pieces = pieces
        bins = FloatBins(FloatOrder.key(lower)..<FloatOrder.key(end))
    }

    private init(_ values: [Float], _ keys: Range<UInt32>) { (pieces, bins) = ([values], FloatBins(keys)) }

    private static let fewEnough = 1 << 11

    /// Of ranks among these values, in their order.
    func statistics(_ ranks: [Int]) -> [OrderStatistic] {
        guard pieces.reduce(0, { $0 + $1.count }) > Self.fewEnough, bins.keys.count > 1 else { return settled(ranks) }
        let counts = counts()
        var bin = 0, below = 0, inner: [Int] = [], found: [OrderStatistic] = []
        for rank in ranks {
            while rank >= below + counts[bin] {
                found += settle(inner, in: bin, below)
                (below, bin, inner) = (below + counts[bin], bin + 1, [])
            }
            inner.append(rank - below)
        }
        return found + settle(inner, in: bin, below)
    }

    private func counts() -> [Int] {
        var counts = [Int](repeating: 0, count: bins.count)
        counts.withUnsafeMutableBufferPointer { counts in
            for piece in pieces { for value in piece { counts[bins.bin(of: value)] += 1 } }
        }
        return counts
    }

    private func settle(_ ranks: [Int], in bin: Int, _ below: Int) -> [OrderStatistic] {
        guard !ranks.isEmpty else { return [] }
        let inside = pieces.flatMap { $0.filter { bins.bin(of: $0) == bin } }
        return CellSelection(inside, bins.keys(of: bin)).statistics(ranks).map { OrderStatistic(value: $0.value, below: $0.below + below, equal: $0.equal) }
    }

    /// By sorting, where there is little or all are equal.
    private func settled(_ ranks: [Int]) -> [OrderStatistic] {
        let sorted = SortedFloats(pieces.flatMap { $0 })
        return ranks.map { sorted.statistic($0) }
    }
}

/// A stretch of the floats in bins of equally many different ones.
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
