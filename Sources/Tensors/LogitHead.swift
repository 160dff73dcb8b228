import CKernels

/// A language model's head: logits = x · weightᵀ, times a scale and softly capped where a family states it.
package struct LogitHead: Sendable {
    /// [V, C]
    package let weight: WeightMatrix
    /// Multiplies what the product gives.
    package let scale: Float
    /// Scaled logits z become cap · tanh(z / cap); nil is no cap.
    package let cap: Float?

    package init(weight: WeightMatrix, scale: Float = 1, cap: Float? = nil) {
        (self.weight, self.scale, self.cap) = (weight, scale, cap)
    }

    package var vocabulary: Int { weight.rows }

    private var isPlain: Bool { scale == 1 && cap == nil }

    /// x [Q, C] → logits [Q, V].
    func logits(_ x: Matrix, into logits: Matrix, _ compute: Compute) {
        compute.timed(.headProduct) { compute.multiplyTransposed(x, weight, into: logits) }
        finish(logits, compute)
    }

    /// What the product gave, [Q, V], becomes logits, in place.
    package func finish(_ products: Matrix, _ compute: Compute) {
        guard !isPlain else { return }
        compute.forEach(products.rows) { finish(products.row($0), products.columns) }
    }

    func finish(_ products: UnsafeMutablePointer<Float>, _ count: Int) {
        if let cap { return crux_cap(products, count, scale, cap) }
        if scale != 1 { multiply(products, by: scale, count: count) }
    }

    /// `body` turns a row of logits into their derivatives, in place; what stands there afterwards are the derivatives
    /// by what the product gave.
    func backward(_ row: UnsafeMutablePointer<Float>, _ body: () -> Void) {
        let count = vocabulary
        guard let cap else {
            body()
            return scale == 1 ? () : multiply(row, by: scale, count: count)
        }
        withUnsafeTemporaryAllocation(of: Float.self, capacity: count) { logits in
            guard let base = logits.baseAddress else { return }
            base.update(from: row, count: count)
            body()
            crux_cap_backward(base, row, count, scale, cap)
        }
    }

    /// From dL/d(what the product gave) `dz` [Q, V] and the hidden states `x` [Q, C]: dweight +=, and x becomes its own
    /// gradient.
    func products(_ dz: Matrix, _ x: Matrix, dweight: Matrix?, _ compute: Compute) {
        compute.timed(.headProduct) {
            if let dweight { compute.transposedMultiply(dz, x, into: dweight, adding: true) }
            compute.multiply(dz, weight, into: x)
        }
    }
}
