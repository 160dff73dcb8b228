/// Which two tokens become one, with the merge's rank: a hash table of fixed size, because a text asks it for every two
/// neighbours.
final class MergeTable: @unchecked Sendable {
    struct Merge {
        let rank: Int32
        let token: Int32
    }

    /// Both are never written after `init`.
    private let keys: UnsafeMutableBufferPointer<UInt64>
    private let values: UnsafeMutableBufferPointer<Merge>
    private let mask: Int
    /// No pair of ids, which are from 0.
    private static let empty = UInt64.max

    init(_ merges: [(left: Int32, right: Int32, token: Int32)]) {
        var size = 16
        while size < merges.count * 2 { size *= 2 }
        (keys, values, mask) = (.allocate(capacity: size), .allocate(capacity: size), size - 1)
        keys.initialize(repeating: Self.empty)
        values.initialize(repeating: Merge(rank: 0, token: 0))
        for (rank, merge) in merges.enumerated() {
            // Of equal pairs the last counts, as in the library.
            let key = Self.key(merge.left, merge.right), place = place(of: key)
            keys[place] = key
            values[place] = Merge(rank: Int32(rank), token: merge.token)
        }
    }

    deinit {
        keys.deallocate()
        values.deallocate()
    }

    @inline(__always)
    private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    @inline(__always)
    private func place(of key: UInt64) -> Int {
        var place = Int(truncatingIfNeeded: (key &* 0x9e37_79b9_7f4a_7c15) >> 32) & mask
        while keys[place] != Self.empty, keys[place] != key { place = (place + 1) & mask }
        return place
    }

    @inline(__always)
    func merge(_ left: Int32, _ right: Int32) -> Merge? {
        let place = place(of: Self.key(left, right))
        return keys[place] == Self.empty ? nil : values[place]
    }
}
