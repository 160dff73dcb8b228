/// A query whose softmax goes over some tokens alone: its kernels see these tokens' logits, one behind the other.
extension HeadRequest {
    /// Calls `body` with the logits that the softmax goes over, how many they are, and the target's place among them.
    func withReachable(
        _ row: UnsafePointer<Float>, _ count: Int, _ body: (UnsafePointer<Float>, Int, Int32) -> Void
    ) {
        guard let support, let place = support.firstIndex(of: target) else { return body(row, count, target) }
        withUnsafeTemporaryAllocation(of: Float.self, capacity: support.count) { logits in
            guard let base = logits.baseAddress else { return }
            for (index, id) in support.enumerated() { base[index] = row[Int(id)] }
            body(base, support.count, Int32(place - support.startIndex))
        }
    }

    /// `body` turns those logits into their derivatives, in place; the row's other logits have none.
    func replacingReachable(
        _ row: UnsafeMutablePointer<Float>, _ count: Int, _ body: (UnsafeMutablePointer<Float>, Int, Int32) -> Void
    ) {
        guard let support, let place = support.firstIndex(of: target) else { return body(row, count, target) }
        withUnsafeTemporaryAllocation(of: Float.self, capacity: support.count) { logits in
            guard let base = logits.baseAddress else { return }
            for (index, id) in support.enumerated() { base[index] = row[Int(id)] }
            body(base, support.count, Int32(place - support.startIndex))
            row.update(repeating: 0, count: count)
            for (index, id) in support.enumerated() { row[Int(id)] = base[index] }
        }
    }
}
