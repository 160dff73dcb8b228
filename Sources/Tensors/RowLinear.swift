import CKernels

/// y = x · weightᵀ + bias for a few rows: x [R, I] → y [R, O]. Unlike `linearForward` each row's result is the same
/// whatever R is, and weights are read from memory once however small R is: what generation needs.
package func linearRows(_ x: Matrix, _ weights: LinearWeights, into y: Matrix, _ compute: Compute) {
    multiplyRows(x, weights.weight, into: y, compute)
    guard let bias = weights.bias else { return }
    for row in 0..<y.rows { crux_add(y.row(row), bias.base, y.columns) }
}

/// y = x · weightᵀ, split over threads by outputs.
package func multiplyRows(_ x: Matrix, _ weight: Matrix, into y: Matrix, _ compute: Compute) {
    guard x.rows > 0 else { return }
    // Threads cost about as much as a hundred thousand multiplications; 48 is a multiple of every tile.
    let isSmall = x.rows * weight.rows * weight.columns < 1 << 18
    let block = isSmall ? weight.rows : max(48, weight.rows / (16 * compute.threads) / 48 * 48)
    compute.forEachBlock(rows: weight.rows, blockRows: block) { _, outputs in
        crux_linear_rows(
            x.base, x.rows, x.stride, weight.row(outputs.lowerBound), outputs.count, weight.columns, y.base + outputs.lowerBound, y.stride)
    }
}
