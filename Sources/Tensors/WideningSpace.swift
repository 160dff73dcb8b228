import Foundation

/// Where 16-bit weights are widened for a product with float32 factors, a stretch of rows at a time. One for the
/// process: a product takes all threads, so products take turns.
///
/// `@unchecked Sendable`: the lock keeps the space to one product at a time.
package final class WideningSpace: @unchecked Sendable {
    static let shared = WideningSpace()

    private let lock = NSLock()
    private var space = Buffer.none

    private init() {}

    /// Floats of a stretch, 32 MiB: hundreds of rows of the widest layers, so that setting up their products costs
    /// little beside them.
    private static let stretchFloats = 8 << 20

    /// Bytes that weights of at most so many numbers take here.
    package static func bytes(largestWeight count: Int) -> Int { 4 * min(count, stretchFloats) }

    /// Calls `body` with consecutive rows of `weight` in float32. Which rows come together depends on its shape alone.
    func forEachStretch(of weight: HalfMatrix, _ compute: Compute, _ body: (Matrix, _ rows: Range<Int>) -> Void) {
        let most = max(1, Self.stretchFloats / max(1, weight.columns))
        lock.withLock {
            for rows in pieces(weight.rows, most, granule: 16) {
                let stretch = Matrix(room(for: rows.count * weight.columns), rows: rows.count, columns: weight.columns)
                compute.forEachBlock(rows: rows.count) { _, block in
                    for row in block {
                        weight.widen(
                            row: rows.lowerBound + row, columns: 0..<weight.columns, into: stretch.row(row))
                    }
                }
                body(stretch, rows)
            }
        }
    }

    private func room(for count: Int) -> UnsafeMutablePointer<Float> {
        if space.count < count { space = Buffer(uninitialized: count) }
        return space.pointer
    }
}

/// 0..<count in consecutive pieces of nearly the same length, at most `most`, all but the last whole granules where
/// `most` holds one.
func pieces(_ count: Int, _ most: Int, granule: Int) -> [Range<Int>] {
    guard count > 0 else { return [] }
    let number = (count + most - 1) / most, even = (count + number - 1) / number
    let length = min(most, (even + granule - 1) / granule * granule)
    return stride(from: 0, to: count, by: length).map { $0..<min(count, $0 + length) }
}
