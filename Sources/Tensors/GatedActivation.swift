import CKernels

/// What a feed-forward layer does to its gate before it multiplies: y = activation(gate) · up.
package enum GatedActivation: Sendable {
    /// x · sigmoid(x): SwiGLU.
    case silu
    /// gelu in its tanh form (PyTorch's `gelu_pytorch_tanh`): GeGLU.
    case geluTanh
}

/// y = activation(gate) · up, elementwise, all [T, F].
package func gatedForward(
    _ activation: GatedActivation, gate: Matrix, up: Matrix, into y: Matrix, _ compute: Compute
) {
    gate.check(like: y, "a gate")
    up.check(like: y, "what a gate multiplies")
    let kernel = activation == .silu ? crux_swiglu_forward : crux_geglu_forward
    compute.timed(.swiglu) {
        compute.forEachBlock(rows: y.rows, blockRows: 8) { _, rows in
            for row in rows { kernel(gate.row(row), up.row(row), y.row(row), y.columns) }
        }
    }
}

/// dgate and dup from dy, all [T, F]; they may overwrite `gate` and `up` themselves, which nobody needs afterwards.
package func gatedBackward(
    _ activation: GatedActivation, _ dy: Matrix, gate: Matrix, up: Matrix, dgate: Matrix, dup: Matrix,
    _ compute: Compute
) {
    for (matrix, name) in [(gate, "a gate"), (up, "what a gate multiplies"), (dgate, "dgate"), (dup, "dup")]
        as [(Matrix, StaticString)]
    { matrix.check(like: dy, name) }
    let kernel = activation == .silu ? crux_swiglu_backward : crux_geglu_backward
    compute.timed(.swiglu) {
        compute.forEachBlock(rows: dy.rows, blockRows: 8) { _, rows in
            for row in rows {
                kernel(dy.row(row), gate.row(row), up.row(row), dgate.row(row), dup.row(row), dy.columns)
            }
        }
    }
}
