import CKernels

/// y = silu(gate) · up, elementwise, all [T, F].
package func swigluForward(gate: Matrix, up: Matrix, into y: Matrix, _ compute: Compute) {
    compute.timed(.swiglu) {
        compute.forEachBlock(rows: y.rows, blockRows: 8) { _, rows in
            for row in rows { crux_swiglu_forward(gate.row(row), up.row(row), y.row(row), y.columns) }
        }
    }
}

/// dgate and dup from dy; they may overwrite `gate` and `up` themselves, which nobody needs afterwards.
package func swigluBackward(_ dy: Matrix, gate: Matrix, up: Matrix, dgate: Matrix, dup: Matrix, _ compute: Compute) {
    compute.timed(.swiglu) {
        compute.forEachBlock(rows: dy.rows, blockRows: 8) { _, rows in
            for row in rows {
                crux_swiglu_backward(dy.row(row), gate.row(row), up.row(row), dgate.row(row), dup.row(row), dy.columns)
            }
        }
    }
}
