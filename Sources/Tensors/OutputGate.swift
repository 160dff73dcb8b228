import CKernels

/// Queries and their gates lie in turns, a head of each, [T, H·2D] → each by itself, [T, H·D].
package func splitGatedHeads(_ both: Matrix, headWidth: Int, queries: Matrix, gates: Matrix) {
    forEachGatedHead(both, headWidth, queries, gates) { both, query, gate in
        query.update(from: both, count: headWidth)
        gate.update(from: both + headWidth, count: headWidth)
    }
}

/// The way back.
package func joinGatedHeads(queries: Matrix, gates: Matrix, headWidth: Int, into both: Matrix) {
    forEachGatedHead(both, headWidth, queries, gates) { both, query, gate in
        both.update(from: query, count: headWidth)
        (both + headWidth).update(from: gate, count: headWidth)
    }
}

private func forEachGatedHead(
    _ both: Matrix, _ headWidth: Int, _ queries: Matrix, _ gates: Matrix,
    _ body: (UnsafeMutablePointer<Float>, UnsafeMutablePointer<Float>, UnsafeMutablePointer<Float>) -> Void
) {
    gates.check(like: queries, "the gates of heads")
    both.check(queries.rows, 2 * queries.columns, "heads and their gates")
    for row in 0..<both.rows {
        for column in stride(from: 0, to: queries.columns, by: headWidth) {
            body(both.row(row) + 2 * column, queries.row(row) + column, gates.row(row) + column)
        }
    }
}

/// y = x · σ(gate), all [T, N].
package func sigmoidGateForward(_ x: Matrix, gate: Matrix, into y: Matrix, _ compute: Compute) {
    gate.check(like: x, "a gate")
    y.check(like: x, "what a gate lets pass")
    compute.timed(.swiglu) {
        compute.forEachBlock(rows: x.rows, blockRows: 8) { _, rows in
            for row in rows { crux_sigmoid_gate_forward(x.row(row), gate.row(row), y.row(row), x.columns) }
        }
    }
}

/// dy becomes dx, in place, and `gate` its gradient.
package func sigmoidGateBackward(_ dy: Matrix, x: Matrix, gate: Matrix, _ compute: Compute) {
    gate.check(like: x, "a gate")
    dy.check(like: x, "the gradient of what a gate lets pass")
    compute.timed(.swiglu) {
        compute.forEachBlock(rows: x.rows, blockRows: 8) { _, rows in
            for row in rows {
                crux_sigmoid_gate_backward(
                    dy.row(row), x.row(row), gate.row(row), dy.row(row), gate.row(row), x.columns)
            }
        }
    }
}
