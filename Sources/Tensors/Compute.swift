import CKernels
import COpenBLAS

/// The threads a computation may use. Matrix products hand them to OpenBLAS; row and head loops use them here, with
/// OpenBLAS on one thread meanwhile, because two pools on the same cores starve each other.
package struct Compute: Sendable {
    package let threads: Int
    /// What layers and heads multiply with; nil: OpenBLAS, in float32.
    private(set) var halves: HalfProducts?
    let clock: WorkClock?

    package init(threads: Int, halves: HalfProducts? = nil, clock: WorkClock? = nil) {
        self.threads = max(1, threads)
        self.halves = halves
        self.clock = clock
        openblas_set_num_threads(Int32(self.threads))
    }

    /// The same threads, with products in float32.
    package var inFloat32: Compute {
        var other = self
        other.halves = nil
        return other
    }

    /// Calls `body` once for each index below `count`, at most `threads` at a time. Which thread takes which index is
    /// open, so `body` must write only what belongs to its index.
    package func forEach(_ count: Int, _ body: (Int) -> Void) {
        guard threads > 1, count > 1 else { return (0..<count).forEach(body) }
        openblas_set_num_threads(1)
        defer { openblas_set_num_threads(Int32(threads)) }
        let isDone = withoutActuallyEscaping(body) { runOnTeam(count, $0) }
        if !isDone { (0..<count).forEach(body) }
    }

    /// false where the team is at work already, for another thread or for a piece of work that this one is part of.
    private func runOnTeam(_ count: Int, _ body: @escaping (Int) -> Void) -> Bool {
        withUnsafePointer(to: body) { body in
            crux_team_run(
                count, threads,
                { context, index in context?.assumingMemoryBound(to: ((Int) -> Void).self).pointee(index) },
                UnsafeMutableRawPointer(mutating: body)) != 0
        }
    }

    /// Calls `body` with consecutive blocks of `blockRows` rows that cover 0..<rows. The blocks depend on `rows` alone,
    /// never on the thread count, so per-block partial sums reduce to the same bytes for any number of threads.
    package func forEachBlock(rows: Int, blockRows: Int = 32, _ body: (_ block: Int, _ rows: Range<Int>) -> Void) {
        let blocks = (rows + blockRows - 1) / blockRows
        forEach(blocks) { block in
            body(block, block * blockRows..<min(rows, (block + 1) * blockRows))
        }
    }
}

extension Compute {
    /// Elements of a long array that one task takes: the same for any thread count, so that sums over them are too.
    private static let piece = 1 << 20

    /// Calls `body` with consecutive pieces of 0..<count.
    package func forEachPiece(of count: Int, _ body: (_ piece: Int, _ range: Range<Int>) -> Void) {
        forEachBlock(rows: count, blockRows: Self.piece, body)
    }

    package func zero(_ buffer: Buffer) {
        forEachPiece(of: buffer.count) { _, range in
            (buffer.pointer + range.lowerBound).update(repeating: 0, count: range.count)
        }
    }

    /// √Σx², in Double.
    package func norm(_ buffer: Buffer) -> Double {
        squaredNorm(UnsafeMutableBufferPointer(start: buffer.pointer, count: buffer.count)).squareRoot()
    }

    /// Σx², in Double.
    package func squaredNorm(_ values: UnsafeMutableBufferPointer<Float>) -> Double {
        guard let base = values.baseAddress else { return 0 }
        var sums = [Double](repeating: 0, count: (values.count + Self.piece - 1) / Self.piece)
        sums.withUnsafeMutableBufferPointer { sums in
            forEachPiece(of: values.count) { piece, range in
                sums[piece] = crux_squared_norm(base + range.lowerBound, range.count)
            }
        }
        return sums.reduce(0, +)
    }
}

// The products of layers and heads, in the precision of their computation.
extension Compute {
    /// result = a · bᵀ, or result += that, with a [M, N], b [O, N], result [M, O]: a linear layer's forward pass.
    package func multiplyTransposed(_ a: Matrix, _ b: Matrix, into result: Matrix, adding: Bool = false) {
        guard let halves else { return Tensors.multiplyTransposed(a, b, into: result, keep: adding ? 1 : 0) }
        halves.multiply(Factor(a), Factor(transposed: b), into: result, adding: adding, self)
    }

    /// result = a · b, or result += that, with a [M, N], b [N, O], result [M, O]: a linear layer's input gradient.
    package func multiply(_ a: Matrix, _ b: Matrix, into result: Matrix, adding: Bool = false) {
        guard let halves else { return Tensors.multiply(a, b, into: result, keep: adding ? 1 : 0) }
        halves.multiply(Factor(a), Factor(b), into: result, adding: adding, self)
    }

    /// result = aᵀ · b, or result += that, with a [N, M], b [N, O], result [M, O]: a weight gradient.
    package func transposedMultiply(_ a: Matrix, _ b: Matrix, into result: Matrix, adding: Bool = false) {
        guard let halves else { return Tensors.transposedMultiply(a, b, into: result, keep: adding ? 1 : 0) }
        halves.multiply(Factor(transposed: a), Factor(b), into: result, adding: adding, self)
    }
}

// The same with a weight as it lies in memory.
extension Compute {
    /// result = a · weightᵀ, or result += that, with a [M, N], weight [O, N], result [M, O].
    package func multiplyTransposed(_ a: Matrix, _ weight: WeightMatrix, into result: Matrix, adding: Bool = false) {
        switch (weight, halves) {
        case (.float32(let matrix), _): multiplyTransposed(a, matrix, into: result, adding: adding)
        case (.half, let halves?):
            halves.multiply(Factor(a), Factor(transposed: weight), into: result, adding: adding, self)
        case (.half(let half), nil):
            WideningSpace.shared.forEachStretch(of: half, self) { stretch, outputs in
                Tensors.multiplyTransposed(a, stretch, into: result[columns: outputs], keep: adding ? 1 : 0)
            }
        }
    }

    /// result = a · weight, or result += that, with a [M, N], weight [N, O], result [M, O].
    package func multiply(_ a: Matrix, _ weight: WeightMatrix, into result: Matrix, adding: Bool = false) {
        switch (weight, halves) {
        case (.float32(let matrix), _): multiply(a, matrix, into: result, adding: adding)
        case (.half, let halves?): halves.multiply(Factor(a), Factor(weight), into: result, adding: adding, self)
        case (.half(let half), nil):
            WideningSpace.shared.forEachStretch(of: half, self) { stretch, inputs in
                let isFirst = inputs.lowerBound == 0 && !adding
                Tensors.multiply(a[columns: inputs], stretch, into: result, keep: isFirst ? 0 : 1)
            }
        }
    }
}

/// result = scale · a · bᵀ + keep · result, with a [M, N], b [O, N], result [M, O].
package func multiplyTransposed(_ a: Matrix, _ b: Matrix, into result: Matrix, scale: Float = 1, keep: Float = 0) {
    guard a.rows > 0, b.rows > 0 else { return }
    b.check(b.rows, a.columns, "the second factor")
    result.check(a.rows, b.rows, "a product")
    cblas_sgemm(
        CblasRowMajor, CblasNoTrans, CblasTrans, blasint(a.rows), blasint(b.rows), blasint(a.columns),
        scale, a.base, blasint(a.stride), b.base, blasint(b.stride), keep, result.base, blasint(result.stride))
}

/// result = scale · a · b + keep · result, with a [M, N], b [N, O], result [M, O].
package func multiply(_ a: Matrix, _ b: Matrix, into result: Matrix, scale: Float = 1, keep: Float = 0) {
    guard a.rows > 0, b.columns > 0 else { return }
    b.check(a.columns, b.columns, "the second factor")
    result.check(a.rows, b.columns, "a product")
    cblas_sgemm(
        CblasRowMajor, CblasNoTrans, CblasNoTrans, blasint(a.rows), blasint(b.columns), blasint(a.columns),
        scale, a.base, blasint(a.stride), b.base, blasint(b.stride), keep, result.base, blasint(result.stride))
}

/// result = scale · aᵀ · b + keep · result, with a [N, M], b [N, O], result [M, O].
package func transposedMultiply(_ a: Matrix, _ b: Matrix, into result: Matrix, scale: Float = 1, keep: Float = 0) {
    guard a.columns > 0, b.columns > 0 else { return }
    b.check(a.rows, b.columns, "the second factor")
    result.check(a.columns, b.columns, "a product")
    cblas_sgemm(
        CblasRowMajor, CblasTrans, CblasNoTrans, blasint(a.columns), blasint(b.columns), blasint(a.rows),
        scale, a.base, blasint(a.stride), b.base, blasint(b.stride), keep, result.base, blasint(result.stride))
}
