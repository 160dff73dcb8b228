import CKernels

/// What a feed-forward layer does to its gate before it multiplies: y = activation(gate) · up.
package enum GatedActivation: Sendable {
    /// x · sigmoid(x): SwiGLU.
    case silu
    /// gelu in its tanh form (PyTorch's `gelu_pytorch_tanh`): GeGLU.
    case geluTanh
    /// x · sigmoid(slope · x) of x kept below `limit`, times up + 1, up kept within ± `limit` (gpt-oss).
    case clampedSilu(limit: Float, slope: Float)

    /// One row.
    fileprivate func forward(
        _ gate: UnsafePointer<Float>, _ up: UnsafePointer<Float>, _ y: UnsafeMutablePointer<Float>, _ count: Int
    ) {
        switch self {
        case .silu: crux_swiglu_forward(gate, up, y, count)
        case .geluTanh: crux_geglu_forward(gate, up, y, count)
        case .clampedSilu(let limit, let slope): crux_clamped_swiglu_forward(gate, up, y, count, limit, slope)
        }
    }

    fileprivate func backward(
        _ dy: UnsafePointer<Float>, _ gate: UnsafePointer<Float>, _ up: UnsafePointer<Float>,
        _ dgate: UnsafeMutablePointer<Float>, _ dup: UnsafeMutablePointer<Float>, _ count: Int
    ) {
        switch self {
        case .silu: crux_swiglu_backward(dy, gate, up, dgate, dup, count)
        case .geluTanh: crux_geglu_backward(dy, gate, up, dgate, dup, count)
        case .clampedSilu(let limit, let slope):
            crux_clamped_swiglu_backward(dy, gate, up, dgate, dup, count, limit, slope)
        }
    }
}

/// y = activation(gate) · up, elementwise, all [T, F].
package func gatedForward(
    _ activation: GatedActivation, gate: Matrix, up: Matrix, into y: Matrix, _ compute: Compute
) {
    gate.check(like: y, "a gate")
    up.check(like: y, "what a gate multiplies")
    compute.timed(.swiglu) {
        compute.forEachBlock(rows: y.rows, blockRows: 8) { _, rows in
            for row in rows { activation.forward(gate.row(row), up.row(row), y.row(row), y.columns) }
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
    compute.timed(.swiglu) {
        compute.forEachBlock(rows: dy.rows, blockRows: 8) { _, rows in
            for row in rows {
                activation.backward(dy.row(row), gate.row(row), up.row(row), dgate.row(row), dup.row(row), dy.columns)
            }
        }
    }
}
