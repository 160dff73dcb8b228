import CKernels

/// y[t] = weight[tokenIDs[t]]. weight [V, C] → y [T, C].
package func embeddingForward(_ tokenIDs: [Int32], weight: Matrix, into y: Matrix) {
    for (row, token) in tokenIDs.enumerated() { y.row(row).update(from: weight.row(Int(token)), count: weight.columns) }
}

/// dweight[tokenIDs[t]] += dy[t], in token order; the padding token's row gets nothing.
package func embeddingBackward(_ dy: Matrix, tokenIDs: [Int32], padding: Int32?, dweight: Matrix) {
    for (row, token) in tokenIDs.enumerated() where token != padding {
        crux_add(dweight.row(Int(token)), dy.row(row), dy.columns)
    }
}
