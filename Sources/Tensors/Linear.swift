import CKernels

/// A linear layer as Hugging Face stores it: weight [O, I], or [I, O] where its inputs come first; optional bias [O], and
/// what an adapter adds to the weight.
/// In the gradient's copy of this struct the same fields point at the gradients.
package struct LinearWeights: Sendable {
    package let weight: WeightMatrix
    package let bias: Matrix?
    private let inputsFirst: Bool
    private var adapter: LowRankAdapter?
    /// A copy of both for a few rows at a time; nil where products go through OpenBLAS.
    private var panels: PackedLinear?

    package init(weight: WeightMatrix, bias: Matrix? = nil) {
        bias?.check(1, weight.rows, "a linear layer's bias")
        (self.weight, self.bias, inputsFirst) = (weight, bias, false)
    }

    /// `weight` [I, O]: y = x · weight + bias.
    package init(inputsFirst weight: WeightMatrix, bias: Matrix? = nil) {
        bias?.check(1, weight.columns, "a linear layer's bias")
        (self.weight, self.bias, inputsFirst) = (weight, bias, true)
    }

    private var outputs: Int { inputsFirst ? weight.columns : weight.rows }
    private var inputs: Int { inputsFirst ? weight.rows : weight.columns }

    /// The same layer for generation: its forward pass gives each row the same bytes however many rows there are. Not
    /// to be trained any further; in float32, and without an adapter.
    package func packed(as precision: GenerationPrecision, _ compute: Compute) -> LinearWeights {
        precondition(adapter == nil, "an adapter of a layer that is packed")
        var packed = self
        let turned = inputsFirst ? weight.float32.transposed() : nil
        packed.panels = withExtendedLifetime(turned) {
            PackedLinear(turned?.matrix(rows: outputs) ?? weight.float32, bias: bias, as: precision, compute)
        }
        return packed
    }

    /// The same layer with another weight: this one's, which stands still, plus the adapter's.
    package func adapted(by adapter: LowRankAdapter) -> LinearWeights {
        precondition(!inputsFirst, "an adapter of a layer whose inputs come first")
        adapter.check(outputs: weight.rows, inputs: weight.columns)
        var adapted = self
        adapted.adapter = adapter
        return adapted
    }

    /// Some of its outputs: one layer of several that are stored as one.
    package subscript(rows range: Range<Int>) -> LinearWeights {
        precondition(adapter == nil && !inputsFirst, "a part of a layer that has an adapter already")
        return LinearWeights(weight: weight[rows: range], bias: bias?[columns: range])
    }

    /// y += x · (weight + adapter)ᵀ, or y = that.
    fileprivate func multiply(_ x: Matrix, into y: Matrix, adding: Bool, _ compute: Compute) {
        if inputsFirst {
            compute.multiply(x, weight, into: y, adding: adding)
        } else {
            compute.multiplyTransposed(x, weight, into: y, adding: adding)
        }
        adapter?.forward(x, into: y)
    }

    /// dx = dy · (weight + adapter), or dx += that.
    fileprivate func inputGradient(_ dy: Matrix, into dx: Matrix, adding: Bool, _ compute: Compute) {
        if inputsFirst {
            compute.multiplyTransposed(dy, weight, into: dx, adding: adding)
        } else {
            compute.multiply(dy, weight, into: dx, adding: adding)
        }
        adapter?.inputGradient(dy, into: dx)
    }

    fileprivate func check(inputs x: Matrix, outputs y: Matrix) {
        x.check(y.rows, inputs, "a linear layer's input")
        y.check(x.rows, outputs, "a linear layer's output")
    }

    /// Of the copy that points at gradients: dweight += dyᵀ · x, the way the weight lies.
    fileprivate func addWeightGradient(_ dy: Matrix, x: Matrix, _ compute: Compute) {
        let (first, second) = inputsFirst ? (x, dy) : (dy, x)
        compute.transposedMultiply(first, second, into: weight.float32, adding: true)
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

/// y = x · weightᵀ + bias, plus `residual` where given; the weight is meant with its adapter. x [T, I] → y, residual [T, O].
package func linearForward(
    _ x: Matrix, _ weights: LinearWeights, adding residual: Matrix? = nil, into y: Matrix, _ compute: Compute
) {
    weights.check(inputs: x, outputs: y)
    residual?.check(like: y, "what a linear layer's output is added to")
    compute.timed(.linear) {
        if weights.packedForward(x, adding: residual, into: y, compute) { return }
        guard residual != nil || weights.bias != nil else {
            return weights.multiply(x, into: y, adding: false, compute)
        }
        // A product adds to what is there for the price of clearing it.
        compute.forEachBlock(rows: y.rows) { _, rows in
            for row in rows { start(y.row(row), residual?.row(row), weights.bias?.base, y.columns) }
        }
        weights.multiply(x, into: y, adding: true, compute)
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
        weights.addWeightGradient(dy, x: x, compute)
        guard let dbias = weights.bias else { return }
        for row in 0..<dy.rows { crux_add(dbias.base, dy.row(row), dy.columns) }
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
        if let dx { weights.inputGradient(dy, into: dx, adding: adding, compute) }
        gradient.accumulate(dy, x: x, compute)
    }
}

/// dx = dy · weight alone, where dx takes the place of x.
package func linearInputGradient(_ dy: Matrix, _ weights: LinearWeights, into dx: Matrix, _ compute: Compute) {
    compute.timed(.linear) { weights.inputGradient(dy, into: dx, adding: false, compute) }
}
