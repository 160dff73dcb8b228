import CKernels

/// y[t] = scale · weight[tokenIDs[t]]. weight [V, C] → y [T, C].
package func embeddingForward(_ tokenIDs: [Int32], weight: WeightMatrix, scale: Float = 1, into y: Matrix) {
    y.check(tokenIDs.count, weight.columns, "the embedded tokens")
    for (row, token) in tokenIDs.enumerated() {
        weight.read(row: Int(token), into: y.row(row))
    }
    guard scale != 1 else { return }
    for row in 0..<y.rows { multiply(y.row(row), by: scale, count: y.columns) }
}

/// dweight[tokenIDs[t]] += scale · dy[t], in token order; the padding token's row gets nothing. dy [T, C], dweight [V,
/// C].
package func embeddingBackward(
    _ dy: Matrix, tokenIDs: [Int32], padding: Int32?, scale: Float = 1, dweight: Matrix
) {
    dy.check(tokenIDs.count, dweight.columns, "the gradient of the embedded tokens")
    for (row, token) in tokenIDs.enumerated() where token != padding {
        addScaled(dy.row(row), scale, into: dweight.row(Int(token)), count: dy.columns)
    }
}

/// y += scale · x.
func addScaled(_ x: UnsafePointer<Float>, _ scale: Float, into y: UnsafeMutablePointer<Float>, count: Int) {
    guard scale != 1 else { return crux_add(y, x, count) }
    for i in 0..<count { y[i] += scale * x[i] }
}

/// x *= scale.
func multiply(_ x: UnsafeMutablePointer<Float>, by scale: Float, count: Int) {
    for i in 0..<count { x[i] *= scale }
}

/// y += scale · x, both [R, N]: how a layer's half joins the residual stream, and how gradients flow past it.
package func add(_ x: Matrix, scale: Float = 1, into y: Matrix, _ compute: Compute) {
    x.check(like: y, "what is added")
    compute.forEachBlock(rows: x.rows) { _, rows in
        for row in rows { addScaled(x.row(row), scale, into: y.row(row), count: x.columns) }
    }
}

/// y = scale · x, both [R, N].
package func copy(_ x: Matrix, scale: Float = 1, into y: Matrix) {
    x.check(like: y, "what is copied")
    for row in 0..<x.rows {
        y.row(row).update(from: x.row(row), count: x.columns)
        if scale != 1 { multiply(y.row(row), by: scale, count: y.columns) }
    }
}
