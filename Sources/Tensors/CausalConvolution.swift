import CKernels

/// A causal convolution of each column by itself, then silu: y_t = silu(Σ_j w[:, j] · x_{t−K+1+j}), nothing before a
/// sequence's beginning.
package struct CausalConvolution: Sendable {
    /// [columns, K], as stored.
    package let weight: Matrix

    package init(weight: Matrix) {
        precondition(weight.columns <= Int(CRUX_MOST_TAPS), "a convolution over \(weight.columns) tokens")
        self.weight = weight
    }

    /// K
    package var taps: Int { weight.columns }
    package var columns: Int { weight.rows }

    /// [K, columns]: neighbouring columns side by side.
    package func turned() -> Buffer { weight.transposed() }
}

/// Columns that a task takes.
private let columnsAtOnce = 256

/// x, y [T, columns].
package func convolutionForward(
    _ x: Matrix, _ convolution: CausalConvolution, _ tree: RunTree, into y: Matrix, _ compute: Compute
) {
    x.check(x.rows, convolution.columns, "a convolution's input")
    y.check(like: x, "a convolution's result")
    let weight = convolution.turned(), taps = convolution.taps
    compute.timed(.attention) {
        compute.forEachBlock(rows: x.rows) { _, rows in
            TapRows.with(taps) { tap in
                for token in rows {
                    tap.find(token, tree, x, column: 0)
                    crux_convolve_silu(tap.rows, weight.pointer, x.columns, taps, y.row(token), x.columns)
                }
            }
        }
    }
}

/// dx = and, unless it stands still, dweight [columns, K] +=. Where tokens branch, their gradients add up.
package func convolutionBackward(
    _ dy: Matrix, x: Matrix, _ convolution: CausalConvolution, _ tree: RunTree, into dx: Matrix, dweight: Matrix?,
    _ compute: Compute
) {
    x.check(x.rows, convolution.columns, "a convolution's input")
    dy.check(like: x, "the gradient of a convolution's result")
    dx.check(like: x, "the gradient of a convolution's input")
    dweight?.check(like: convolution.weight, "the gradient of a convolution's weight")
    let weight = convolution.turned(), gradient = Buffer(weight.count), taps = convolution.taps
    compute.timed(.attention) {
        // By columns, so that no two tasks write to the same place.
        compute.forEachBlock(rows: x.columns, blockRows: columnsAtOnce) { _, columns in
            for row in 0..<dx.rows { (dx.row(row) + columns.lowerBound).update(repeating: 0, count: columns.count) }
            TapRows.with(taps) { tap in
                for token in 0..<x.rows {
                    tap.find(token, tree, x, dx, column: columns.lowerBound)
                    crux_convolve_silu_backward(
                        tap.rows, weight.pointer + columns.lowerBound, x.columns, taps,
                        dy.row(token) + columns.lowerBound, tap.gradients, gradient.pointer + columns.lowerBound,
                        columns.count)
                }
            }
        }
    }
    guard let dweight else { return }
    for column in 0..<dweight.rows {
        for tap in 0..<taps { dweight.row(column)[tap] += gradient.pointer[tap * dweight.rows + column] }
    }
}

/// Where the rows lie that a token's convolution reads.
private struct TapRows {
    private let taps: Int
    private let tokens: UnsafeMutablePointer<Int>
    let rows: UnsafeMutablePointer<UnsafePointer<Float>?>
    let gradients: UnsafeMutablePointer<UnsafeMutablePointer<Float>?>

    static func with(_ taps: Int, _ body: (TapRows) -> Void) {
        let tap = TapRows(
            taps: taps, tokens: .allocate(capacity: taps), rows: .allocate(capacity: taps),
            gradients: .allocate(capacity: taps))
        defer {
            tap.tokens.deallocate()
            tap.rows.deallocate()
            tap.gradients.deallocate()
        }
        body(tap)
    }

    func find(_ token: Int, _ tree: RunTree, _ x: Matrix, _ dx: Matrix? = nil, column: Int) {
        tree.path(to: token, taps: taps, into: tokens)
        for tap in 0..<taps {
            let row = tokens[tap]
            rows[tap] = row < 0 ? nil : UnsafePointer(x.row(row) + column)
            gradients[tap] = row < 0 ? nil : dx.map { $0.row(row) + column }
        }
    }
}
