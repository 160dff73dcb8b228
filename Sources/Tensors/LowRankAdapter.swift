/// What is added to a weight [O, I] that stands still: scale · b · a, a [r, I], b [O, r] (LoRA, arXiv 2106.09685). No
/// [O, I] matrix is ever made of it. Always in float32: products as thin as these would gain nothing in 16 bits.
package struct LowRankAdapter: Sendable {
    package let a: Matrix
    package let b: Matrix
    package let scale: Float

    package init(a: Matrix, b: Matrix, scale: Float) { (self.a, self.b, self.scale) = (a, b, scale) }

    private var rank: Int { a.rows }

    /// Of some of the outputs, where several layers are stored as one.
    package subscript(rows range: Range<Int>) -> LowRankAdapter {
        LowRankAdapter(a: a, b: b[rows: range], scale: scale)
    }

    func check(outputs: Int, inputs: Int) {
        a.check(rank, inputs, "an adapter's first factor")
        b.check(outputs, rank, "an adapter's second factor")
    }

    /// Bytes that the adapter's own products work in, of `tokens` at a time.
    package static func scratchBytes(tokens: Int, rank: Int) -> Int { 4 * tokens * rank }

    private func withThin(_ rows: Int, _ body: (Matrix) -> Void) {
        let narrow = Buffer(uninitialized: rows * rank)
        withExtendedLifetime(narrow) { body(Matrix(narrow.pointer, rows: rows, columns: rank)) }
    }

    /// y += scale · (x · aᵀ) · bᵀ. x [T, I], y [T, O].
    func forward(_ x: Matrix, into y: Matrix) {
        withThin(x.rows) { thin in
            multiplyTransposed(x, a, into: thin)
            multiplyTransposed(thin, b, into: y, scale: scale, keep: 1)
        }
    }

    /// dx += scale · (dy · b) · a. dy [T, O], dx [T, I].
    func inputGradient(_ dy: Matrix, into dx: Matrix) {
        withThin(dy.rows) { thin in
            multiply(dy, b, into: thin)
            multiply(thin, a, into: dx, scale: scale, keep: 1)
        }
    }

    /// da += scale · (dy · b)ᵀ · x, db += scale · dyᵀ · (x · aᵀ).
    func accumulate(_ dy: Matrix, x: Matrix, da: Matrix, db: Matrix) {
        withThin(dy.rows) { thin in
            multiplyTransposed(x, a, into: thin)
            transposedMultiply(dy, thin, into: db, scale: scale, keep: 1)
            multiply(dy, b, into: thin)
            transposedMultiply(thin, x, into: da, scale: scale, keep: 1)
        }
    }

    /// Adds to columns `range` of one row of a weight, element by element: the same bytes however a weight is cut.
    package func add(to target: UnsafeMutablePointer<Float>, row: Int, columns range: Range<Int>) {
        for k in 0..<rank {
            addScaled(a.row(k) + range.lowerBound, scale * b.row(row)[k], into: target, count: range.count)
        }
    }
}

/// The gradients of an adapter's two factors; the weight below has none.
package struct LowRankGradient: LinearGradient {
    private let adapter: LowRankAdapter
    private let da: Matrix
    private let db: Matrix

    /// `da`, `db`: where they are added up, of the factors' shapes.
    package init(_ adapter: LowRankAdapter, da: Matrix, db: Matrix) {
        (self.adapter, self.da, self.db) = (adapter, da, db)
    }

    package func accumulate(_ dy: Matrix, x: Matrix, _ compute: Compute) {
        adapter.accumulate(dy, x: x, da: da, db: db)
    }
}
