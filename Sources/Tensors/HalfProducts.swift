import CKernels
import COneDNN
import Foundation

/// A factor of a product: a matrix, or its transpose.
struct Factor {
    let matrix: WeightMatrix
    let isTransposed: Bool

    init(_ matrix: WeightMatrix) { (self.matrix, isTransposed) = (matrix, false) }
    init(transposed matrix: WeightMatrix) { (self.matrix, isTransposed) = (matrix, true) }
    init(_ matrix: Matrix) { self.init(.float32(matrix)) }
    init(transposed matrix: Matrix) { self.init(transposed: .float32(matrix)) }

    var rows: Int { isTransposed ? matrix.columns : matrix.rows }
    var columns: Int { isTransposed ? matrix.rows : matrix.columns }
}

/// Matrix products whose factors are rounded to bf16, with float32 sums, by oneDNN. Factors are rounded
/// block by block into two arrays of fixed size: a product needs no 16-bit copy of a whole matrix, and rounding costs
/// little beside it. Weights that are bf16 already go as they are.
///
/// Blocks and tiles depend on shapes alone, and each tile is one call of oneDNN on one thread: the bytes are the same
/// for any number of threads.
///
/// `@unchecked Sendable`: the lock keeps the blocks to one product at a time, as OpenBLAS's threads are.
package final class HalfProducts: @unchecked Sendable {
    private let lock = NSLock()
    private let first = HalfBlock()
    private let second = HalfBlock()

    private init() {}

    private static let shared = Result { () throws(NoHalfProducts) in try open() }

    /// Those of this process. The processor must have them.
    static func loaded() throws -> HalfProducts { try shared.get() }

    private static func open() throws(NoHalfProducts) -> HalfProducts {
        var version: Int32 = 0
        switch crux_onednn_load(&version) {
        case CRUX_ONEDNN_READY: return HalfProducts()
        case CRUX_ONEDNN_MISSING:
            throw NoHalfProducts(
                description: "found neither libdnnl.so.2 nor libdnnl.so.3, expected oneDNN, which multiplies in 16 "
                    + "bits. Install it (Debian 12: apt-get install libdnnl2), or leave --precision out.")
        case CRUX_ONEDNN_WRONG:
            throw NoHalfProducts(
                description: "found a oneDNN \(Self.text(version)) that multiplies wrongly, expected 2.6 or newer. "
                    + "Install another, or leave --precision out.")
        default:
            throw NoHalfProducts(
                description: "found a oneDNN \(Self.text(version)), expected a version 2 or 3 with OpenMP's threads "
                    + "or none. Install another, or leave --precision out.")
        }
    }

    private static func text(_ version: Int32) -> String {
        "\(version / 10_000).\(version / 100 % 100).\(version % 100)"
    }

    /// Bytes beside a product's arguments, at most: two blocks, for each thread what oneDNN lays a tile's factors out
    /// in, and the library itself with the kernels that it has made.
    package static func scratchBytes(threads: Int) -> Int {
        2 * 2 * HalfBlock.count + threads * (4 << 20) + (40 << 20)
    }

    /// result = a · b, or result += that.
    func multiply(_ a: Factor, _ b: Factor, into result: Matrix, adding: Bool, _ compute: Compute) {
        precondition(a.columns == b.rows, "a product of \(a.columns) columns and \(b.rows) rows")
        result.check(a.rows, b.columns, "a product")
        lock.withLock {
            let inner = pieces(a.columns, HalfBlock.side, granule: 32)
            if inner.isEmpty, !adding { clear(result) }
            for rows in pieces(a.rows, HalfBlock.side, granule: 16) {
                for (number, depth) in inner.enumerated() {
                    first.fill(a, rows: rows, columns: depth, compute)
                    for columns in pieces(b.columns, HalfBlock.side, granule: 16) {
                        second.fill(b, rows: depth, columns: columns, compute)
                        multiplyBlocks(
                            into: result[rows: rows][columns: columns], depth: depth.count,
                            adding: adding || number > 0, compute)
                    }
                }
            }
        }
    }

    private func clear(_ result: Matrix) {
        for row in 0..<result.rows { result.row(row).update(repeating: 0, count: result.columns) }
    }

    private static let tileRows = 256
    private static let tileColumns = 512

    private func multiplyBlocks(into result: Matrix, depth: Int, adding: Bool, _ compute: Compute) {
        let rows = pieces(result.rows, Self.tileRows, granule: 16),
            columns = pieces(result.columns, Self.tileColumns, granule: 16)
        compute.forEach(rows.count * columns.count) { tile in
            let r = rows[tile / columns.count], c = columns[tile % columns.count], target = result[rows: r][columns: c]
            var product = crux_half_product(
                m: Int64(r.count), n: Int64(c.count), k: Int64(depth), a_row_step: first.rowStep,
                a_column_step: first.columnStep, b_row_step: second.rowStep, b_column_step: second.columnStep,
                c_row_step: Int64(target.stride), adds: adding ? 1 : 0)
            let status = crux_half_multiply(
                &product, first.start(row: r.lowerBound, column: 0), second.start(row: 0, column: c.lowerBound),
                target.base)
            precondition(status == 0, "oneDNN's product of \(r.count) · \(depth) · \(c.count) ended with \(status)")
        }
    }
}

/// Part of a factor, rounded; laid out as the matrix is.
private final class HalfBlock {
    /// Most rows and columns.
    static let side = 2048
    /// Elements between rows beyond those of a row: rows a power of two apart would share few lines of the cache.
    private static let gap = 32
    static let count = side * (side + gap)

    private let storage = Buffer(uninitialized: count / 2)
    private var stride = 0
    private var isTransposed = false

    private var base: UnsafeMutablePointer<UInt16> {
        UnsafeMutableRawPointer(storage.pointer).assumingMemoryBound(to: UInt16.self)
    }

    var rowStep: Int64 { Int64(isTransposed ? 1 : stride) }
    var columnStep: Int64 { Int64(isTransposed ? stride : 1) }

    func start(row: Int, column: Int) -> UnsafePointer<UInt16> {
        UnsafePointer(base + row * Int(rowStep) + column * Int(columnStep))
    }

    /// `rows`, `columns`: of the factor.
    func fill(_ factor: Factor, rows: Range<Int>, columns: Range<Int>, _ compute: Compute) {
        isTransposed = factor.isTransposed
        let part =
            isTransposed
            ? factor.matrix[rows: columns][columns: rows] : factor.matrix[rows: rows][columns: columns]
        stride = (part.columns + 31) / 32 * 32 + Self.gap
        nonisolated(unsafe) let base = base
        let stride = stride
        compute.forEachBlock(rows: part.rows) { _, block in
            for row in block { part.round(row: row, toBFloat16: base + row * stride) }
        }
    }
}
