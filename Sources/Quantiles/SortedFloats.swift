/// Finite floats in their order, -0 and 0 as one: few of them sorted by comparing, many by eight or eleven bits at a
/// time, since comparing those would take several times as long.
struct SortedFloats {
    private let keys: [UInt32]

    init(_ values: [Float]) {
        var keys = values.map { FloatOrder.key($0) }
        if keys.count < 1 << 6 { keys.sort() } else { Self.sort(&keys, bits: keys.count < 1 << 14 ? 8 : 11) }
        self.keys = keys
    }

    private static func sort(_ keys: inout [UInt32], bits: UInt32) {
        var other = keys
        for shift in stride(from: 0, to: 32, by: Int(bits)) {
            scatter(keys, UInt32(shift), UInt32(1) << bits - 1, into: &other)
            swap(&keys, &other)
        }
    }

    var count: Int { keys.count }
    subscript(rank: Int) -> Float { FloatOrder.value(keys[rank]) }

    func statistic(_ rank: Int) -> OrderStatistic {
        let key = keys[rank], below = partitionPoint(of: count) { keys[$0] >= key }
        return OrderStatistic(
            value: self[rank], below: below, equal: partitionPoint(of: count) { keys[$0] > key } - below)
    }

    /// In the order of a digit, at `shift` as wide as `mask`; equal ones stay as they were.
    private static func scatter(_ keys: [UInt32], _ shift: UInt32, _ mask: UInt32, into scattered: inout [UInt32]) {
        withUnsafeTemporaryAllocation(of: Int.self, capacity: Int(mask) + 2) { next in
            next.initialize(repeating: 0)
            for key in keys { next[Int(key >> shift & mask) + 1] += 1 }
            for digit in 1..<next.count { next[digit] += next[digit - 1] }
            scattered.withUnsafeMutableBufferPointer { scattered in
                for key in keys {
                    let digit = Int(key >> shift & mask)
                    scattered[next[digit]] = key
                    next[digit] += 1
                }
            }
        }
    }
}
