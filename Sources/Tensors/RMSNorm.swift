import CKernels

/// y[t] = weight · x[t] / √(mean(x[t]²) + epsilon), row by row. x, y [R, N], weight [1, N], rstd [R] is kept for the
/// backward half. A row is a token (N = C) or one head of one token (N = D).
package func rmsNormForward(
    _ x: Matrix, weight: Matrix, epsilon: Float, into y: Matrix, rstd: UnsafeMutablePointer<Float>, _ compute: Compute
) {
    compute.timed(.norm) {
        compute.forEachBlock(rows: x.rows) { _, rows in
            for row in rows {
                rstd[row] = crux_rmsnorm_forward(x.row(row), weight.base, y.row(row), x.columns, epsilon)
            }
        }
    }
}

/// dx += and, unless it stands still, dweight +=. `x` is the forward input. The weight's gradient is summed per block
/// of rows and then over blocks in order, so that it has the same bytes for any number of threads.
package func rmsNormBackward(
    _ dy: Matrix, x: Matrix, weight: Matrix, rstd: UnsafeMutablePointer<Float>, into dx: Matrix, dweight: Matrix?,
    _ compute: Compute
) {
    compute.timed(.norm) {
        let blockRows = max(32, x.rows / 64)
        let partial = Buffer((x.rows + blockRows - 1) / blockRows * x.columns)
        compute.forEachBlock(rows: x.rows, blockRows: blockRows) { block, rows in
            let sum = partial.pointer + block * x.columns
            for row in rows {
                crux_rmsnorm_backward(dy.row(row), x.row(row), weight.base, rstd[row], dx.row(row), sum, x.columns)
            }
        }
        guard let dweight else { return }
        for block in 0..<partial.count / max(1, x.columns) {
            crux_add(dweight.base, partial.pointer + block * x.columns, x.columns)
        }
    }
}
