import CKernels

/// A linear layer as Hugging Face stores it: weight [O, I], optional bias [O]. In the gradient's copy of this struct the
/// same fields point at the gradients.
package struct LinearWeights: Sendable {
    package let weight: Matrix
    package let bias: Matrix?

    package init(weight: Matrix, bias: Matrix? = nil) {
        self.weight = weight
        self.bias = bias
    }
}

/// y = x · weightᵀ + bias. x [T, I] → y [T, O].
package func linearForward(_ x: Matrix, _ weights: LinearWeights, into y: Matrix, _ compute: Compute) {
    multiplyTransposed(x, weights.weight, into: y)
    guard let bias = weights.bias else { return }
    compute.forEachBlock(rows: y.rows) { _, rows in
        for row in rows { crux_add(y.row(row), bias.base, y.columns) }
    }
}

/// dx = (keep · dx) + dy · weight, dweight += dyᵀ · x, dbias += Σ_t dy[t]. Pass no `dx` where nothing below needs it.
package func linearBackward(
    _ dy: Matrix, x: Matrix, _ weights: LinearWeights, gradients: LinearWeights, into dx: Matrix?, keep: Float = 0
) {
    if let dx { multiply(dy, weights.weight, into: dx, keep: keep) }
    transposedMultiply(dy, x, into: gradients.weight, keep: 1)
    guard let dbias = gradients.bias else { return }
    for row in 0..<dy.rows { crux_add(dbias.base, dy.row(row), dy.columns) }
}
