import CKernels

/// A root mean square norm's weight with what a family states about it: y = (weight + offset) · x / √(mean(x²) +
/// epsilon).
package struct RMSNorm: Sendable {
    /// [1, N], as stored.
    package let weight: Matrix
    package let epsilon: Float
    /// 1 where a checkpoint stores weights as their distance from 1 (Gemma), else 0.
    package let offset: Float

    package init(weight: Matrix, epsilon: Float, offset: Float = 0) {
        (self.weight, self.epsilon, self.offset) = (weight, epsilon, offset)
    }

    /// Traps unless `x` has rows of N.
    fileprivate func check(_ x: Matrix) { x.check(x.rows, weight.columns, "a norm's input") }

    /// The factors, [N].
    fileprivate func withFactors(_ body: (UnsafePointer<Float>) -> Void) {
        guard offset != 0 else { return body(weight.base) }
        withUnsafeTemporaryAllocation(of: Float.self, capacity: weight.columns) { factors in
            guard let base = factors.baseAddress else { return }
            for i in 0..<weight.columns { base[i] = weight.base[i] + offset }
            body(base)
        }
    }
}

/// y[t] = norm(x[t]), row by row. x, y [R, N] (which may be the same), norm of N, rstd [R] is kept for the backward
/// half. A row is a token (N = C), or one head of one token (N = D).
package func rmsNormForward(
    _ x: Matrix, _ norm: RMSNorm, into y: Matrix, rstd: UnsafeMutablePointer<Float>, _ compute: Compute
) {
    norm.check(x)
    y.check(like: x, "a norm's result")
    compute.timed(.norm) {
        norm.withFactors { factors in
            compute.forEachBlock(rows: x.rows) { _, rows in
                for row in rows {
                    rstd[row] = crux_rmsnorm_forward(x.row(row), factors, y.row(row), x.columns, norm.epsilon)
                }
            }
        }
    }
}

/// y[t] = residual[t] + scale · norm(x[t]); x, residual, y [R, N], y may be `residual`. rstd as above.
package func rmsNormForward(
    _ x: Matrix, _ norm: RMSNorm, scale: Float, adding residual: Matrix, into y: Matrix,
    rstd: UnsafeMutablePointer<Float>, _ compute: Compute
) {
    norm.check(x)
    y.check(like: x, "a norm's result")
    residual.check(like: x, "what a norm's result is added to")
    compute.timed(.norm) {
        norm.withFactors { factors in
            compute.forEachBlock(rows: x.rows) { _, rows in
                withUnsafeTemporaryAllocation(of: Float.self, capacity: x.columns) { buffer in
                    guard let normed = buffer.baseAddress else { return }
                    for row in rows {
                        rstd[row] = crux_rmsnorm_forward(x.row(row), factors, normed, x.columns, norm.epsilon)
                        let from = residual.row(row), to = y.row(row)
                        for i in 0..<x.columns { to[i] = from[i] + scale * normed[i] }
                    }
                }
            }
        }
    }
}

/// dx += and, unless it stands still, dweight +=. `x` is the forward input, dy, x, dx [R, N], dweight [1, N]. The
/// weight's gradient is summed per block of rows and then over blocks in order, so that it has the same bytes for any
/// number of threads.
package func rmsNormBackward(
    _ dy: Matrix, x: Matrix, _ norm: RMSNorm, rstd: UnsafeMutablePointer<Float>, into dx: Matrix, dweight: Matrix?,
    _ compute: Compute
) {
    norm.check(x)
    dy.check(like: x, "the gradient of a norm's result")
    dx.check(like: x, "the gradient of a norm's input")
    dweight?.check(like: norm.weight, "the gradient of a norm's weight")
    compute.timed(.norm) {
        let blockRows = max(32, x.rows / 64)
        let partial = Buffer((x.rows + blockRows - 1) / blockRows * x.columns)
        norm.withFactors { factors in
            compute.forEachBlock(rows: x.rows, blockRows: blockRows) { block, rows in
                let sum = partial.pointer + block * x.columns
                for row in rows {
                    crux_rmsnorm_backward(dy.row(row), x.row(row), factors, rstd[row], dx.row(row), sum, x.columns)
                }
            }
        }
        guard let dweight else { return }
        for block in 0..<partial.count / max(1, x.columns) {
            crux_add(dweight.base, partial.pointer + block * x.columns, x.columns)
        }
    }
}
