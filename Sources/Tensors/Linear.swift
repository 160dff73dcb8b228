import CKernels

/// A linear layer as Hugging Face stores it: weight [O, I], optional bias [O]. In the gradient's copy of this struct
/// the same fields point at the gradients.
package struct LinearWeights: Sendable {
    package let weight: Matrix
    package let bias: Matrix?
    /// A copy of both for a few rows at a time; nil where products go through OpenBLAS.
    private let panels: PackedLinear?

    package init(weight: Matrix, bias: Matrix? = nil) { self.init(weight, bias, nil) }

    private init(_ weight: Matrix, _ bias: Matrix?, _ panels: PackedLinear?) {
        bias?.check(1, weight.rows, "a linear layer's bias")
        (self.weight, self.bias, self.panels) = (weight, bias, panels)
    }

    /// The same layer for generation: its forward pass gives each row the same bytes however many rows there are. Not
    /// to be trained any further.
    package func packed(as precision: GenerationPrecision, _ compute: Compute) -> LinearWeights {
        LinearWeights(weight, bias, PackedLinear(weight, bias: bias, as: precision, compute))
    }

    /// Some of its outputs: one layer of several that are stored as one.
    package subscript(rows range: Range<Int>) -> LinearWeights {
        LinearWeights(weight: weight[rows: range], bias: bias?[columns: range])
    }

    fileprivate func check(inputs x: Matrix, outputs y: Matrix) {
        x.check(y.rows, weight.columns, "a linear layer's input")
        y.check(x.rows, weight.rows, "a linear layer's output")
    }

    fileprivate func packedForward(_ x: Matrix, adding residual: Matrix?, into y: Matrix, _ compute: Compute) -> Bool {
        guard let panels else { return false }
        precondition(residual?.base != y.base, "a packed layer's result in the place of what it is added to")
        panels.forward(x, into: y, compute)
        guard let residual else { return true }
        for row in 0..<y.rows { crux_add(y.row(row), residual.row(row), y.columns) }
        return true
    }
}

/// y = x · weightᵀ + bias, plus `residual` where given. x [T, I] → y, residual [T, O].
package func linearForward(
    _ x: Matrix, _ weights: LinearWeights, adding residual: Matrix? = nil, into y: Matrix, _ compute: Compute
) {
    weights.check(inputs: x, outputs: y)
    residual?.check(like: y, "what a linear layer's output is added to")
    compute.timed(.linear) {
        if weights.packedForward(x, adding: residual, into: y, compute) { return }
        guard residual != nil || weights.bias != nil else {
            return compute.multiplyTransposed(x, weights.weight, into: y)
        }
        // A product adds to what is there for the price of clearing it.
        compute.forEachBlock(rows: y.rows) { _, rows in
            for row in rows { start(y.row(row), residual?.row(row), weights.bias?.base, y.columns) }
        }
        compute.multiplyTransposed(x, weights.weight, into: y, adding: true)
    }
}

/// y = a + b; what is nil is 0.
private func start(
    _ y: UnsafeMutablePointer<Float>, _ a: UnsafePointer<Float>?, _ b: UnsafePointer<Float>?, _ count: Int
) {
    guard let first = a ?? b else { return }
    y.update(from: first, count: count)
    if a != nil, let b { crux_add(y, b, count) }
}

/// Where a linear layer's weight gradient goes.
package protocol LinearGradient: Sendable {
    /// Adds the share of this product. dy [T, O], x [T, I].
    func accumulate(_ dy: Matrix, x: Matrix, _ compute: Compute)
}

/// dweight += dyᵀ · x, dbias += Σ_t dy[t].
package struct FullLinearGradient: LinearGradient {
    let weights: LinearWeights

    package init(_ weights: LinearWeights) { self.weights = weights }

    package func accumulate(_ dy: Matrix, x: Matrix, _ compute: Compute) {
        compute.transposedMultiply(dy, x, into: weights.weight, adding: true)
        guard let dbias = weights.bias else { return }
        for row in 0..<dy.rows { crux_add(dbias.base, dy.row(row), dy.columns) }
    }
}

/// Of a weight W + scale · b · a with W frozen, a [r, I], b [O, r]: da += scale · (dy · b)ᵀ · x, db += scale · dyᵀ · (x
/// · aᵀ). No [O, I] matrix is ever made. Always in float32:
/// products as thin as these would gain nothing.
package struct LowRankGradient: LinearGradient {
    let a: Matrix
    let b: Matrix
    let da: Matrix
    let db: Matrix
    let scale: Float

    package init(a: Matrix, b: Matrix, da: Matrix, db: Matrix, scale: Float) {
        (self.a, self.b, self.da, self.db, self.scale) = (a, b, da, db, scale)
    }

    package func accumulate(_ dy: Matrix, x: Matrix, _ compute: Compute) {
        let narrow = Buffer(uninitialized: dy.rows * a.rows)
        withExtendedLifetime(narrow) {
            let thin = narrow.matrix(rows: dy.rows)
            multiplyTransposed(x, a, into: thin)
            transposedMultiply(dy, thin, into: db, scale: scale, keep: 1)
            multiply(dy, b, into: thin)
            transposedMultiply(thin, x, into: da, scale: scale, keep: 1)
        }
    }
}

/// A layer that stands still.
package struct NoLinearGradient: LinearGradient {
    package init() {}
    package func accumulate(_ dy: Matrix, x: Matrix, _ compute: Compute) {}
}

/// dx = dy · weight, or dx += that, and the weight's gradient. Pass no `dx` where nothing below needs it.
package func linearBackward(
    _ dy: Matrix, x: Matrix, _ weights: LinearWeights, gradient: any LinearGradient, into dx: Matrix?,
    adding: Bool = false, _ compute: Compute
) {
    weights.check(inputs: x, outputs: dy)
    compute.timed(.linear) {
        if let dx { compute.multiply(dy, weights.weight, into: dx, adding: adding) }
        gradient.accumulate(dy, x: x, compute)
    }
}

/// dx = dy · weight alone, where dx takes the place of x.
package func linearInputGradient(_ dy: Matrix, _ weights: LinearWeights, into dx: Matrix, _ compute: Compute) {
    compute.timed(.linear) { compute.multiply(dy, weights.weight, into: dx) }
}
