/// Finite floats in their order, -0 and 0 as one: sorted by eleven bits at a time, since comparing them would take ten times as long.
struct SortedFloats {
    private let keys: [UInt32]

    init(_ values: [Float]) {
        var keys = values.map { FloatOrder.key($0) }, other = [UInt32](repeating: 0, count: keys.count)
        for shift in [UInt32(0), 11, 22] {
            Self.deal(keys, shift, into: &other)
            swap(&keys, &other)
        }
        self.keys = keys
    }

    var count: Int { keys.count }
    subscript(rank: Int) -> Float { FloatOrder.value(keys[rank]) }

    func statistic(_ rank: Int) -> OrderStatistic {
        let key = keys[rank], below = firstIndex { $0 >= key }
        return OrderStatistic(value: self[rank], below: below, equal: firstIndex { $0 > key } - below)
    }

    private func firstIndex(where holds: (UInt32) -> Bool) -> Int {
        var low = 0, high = keys.count
        while low < high {
            let middle = (low + high) / 2
            if holds(keys[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }

    /// In the order of eleven bits; equal ones stay as they were.
    private static func deal(_ keys: [UInt32], _ shift: UInt32, into dealt: inout [UInt32]) {
        var next = [Int](repeating: 0, count: 1 << 11 + 1)
        for key in keys { next[Int(key >> shift & 0x7ff) + 1] += 1 }
        for digit in 1..<next.count { next[digit] += next[digit - 1] }
        dealt.withUnsafeMutableBufferPointer { dealt in
            next.withUnsafeMutableBufferPointer { next in
                for key in keys {
                    let digit = Int(key >> shift & 0x7ff)
                    dealt[next[digit]] = key
                    next[digit] += 1
                }
            }
        }
    }
}
