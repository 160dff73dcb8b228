import CKernels

/// A model that stands still: its final hidden states of a batch's tokens, [T, C'], and its head, [V, C'].
package struct FrozenHead: Sendable {
    let hidden: Matrix
    let weight: Matrix

    package init(hidden: Matrix, weight: Matrix) { (self.hidden, self.weight) = (hidden, weight) }
}

/// Log-probability and entropy for each query under a model that stands still.
package func headForward(_ frozen: FrozenHead, queries: [HeadQuery], _ compute: Compute) -> [HeadAnswer] {
    headForward(frozen.hidden, weight: frozen.weight, queries: queries, compute)
}

/// What a query's distribution is drawn towards: π* ∝ softmax(reference / T) · exp(Q / β + bonus).
package struct SoftTarget: Sendable {
    let reference: FrozenHead
    /// nil: the bonus of the query's token alone.
    let q: FrozenHead?
    let inverseBeta: Float

    package init(reference: FrozenHead, q: FrozenHead?, inverseBeta: Float) { (self.reference, self.q, self.inverseBeta) = (reference, q, inverseBeta) }
}

/// Logits of up to three models for the rows of one chunk.
private struct LogitChunk {
    let policy: Matrix
    let reference: Matrix
    let q: Matrix?

    init(_ hidden: Matrix, _ weight: Matrix, _ reference: FrozenHead, _ q: FrozenHead?, _ queries: ArraySlice<HeadQuery>) {
        policy = Self.logits(hidden, weight, queries)
        self.reference = Self.logits(reference.hidden, reference.weight, queries)
        self.q = q.map { Self.logits($0.hidden, $0.weight, queries) }
    }

    private static func logits(_ hidden: Matrix, _ weight: Matrix, _ queries: ArraySlice<HeadQuery>) -> Matrix {
        let rows = Buffer(uninitialized: queries.count * hidden.columns)
        let z = Matrix(UnsafeMutablePointer<Float>.allocate(capacity: max(1, queries.count * weight.rows)), rows: queries.count, columns: weight.rows)
        withExtendedLifetime(rows) { multiplyTransposed(gather(hidden, queries, into: rows), weight, into: z) }
        return z
    }

    func free() {
        policy.base.deallocate()
        reference.base.deallocate()
        q?.base.deallocate()
    }
}

/// KL(π || π*) for each query.
package func softTargetForward(_ hidden: Matrix, weight: Matrix, target: SoftTarget, queries: [HeadQuery], _ compute: Compute) -> [HeadAnswer] {
    var answers = [HeadAnswer](repeating: HeadAnswer(), count: queries.count)
    answers.withUnsafeMutableBufferPointer { answers in
        for range in chunks(queries.count, vocabulary: 3 * weight.rows) {
            let chunk = LogitChunk(hidden, weight, target.reference, target.q, queries[range])
            let out = UnsafeMutableBufferPointer(rebasing: answers[range])
            compute.forEach(range.count) { i in
                let query = queries[range.lowerBound + i]
                var answer = HeadAnswer()
                crux_log_softmax_stats(
                    chunk.policy.row(i), weight.rows, query.inverseTemperature, query.target, &answer.output, &answer.entropy, &answer.logSumExp)
                answer.output = Float(row(chunk, i, query, target, derivative: 0))
                out[i] = answer
            }
            chunk.free()
        }
    }
    return answers
}

private func row(_ chunk: LogitChunk, _ i: Int, _ query: HeadQuery, _ target: SoftTarget, derivative: Float) -> Double {
    crux_target_row(
        chunk.policy.row(i), chunk.reference.row(i), chunk.q.map { UnsafePointer($0.row(i)) }, chunk.policy.columns, query.inverseTemperature, target.inverseBeta,
        query.target, query.bonus, derivative)
}

/// From dL/dKL of each query: dhidden[row] += and dweight +=; nothing flows into the frozen models.
package func softTargetBackward(
    _ hidden: Matrix, weight: Matrix, target: SoftTarget, queries: [HeadQuery], derivatives: [Float], dhidden: Matrix, dweight: Matrix?, _ compute: Compute
) {
    let live = queries.indices.filter { derivatives[$0] != 0 }, asked = live.map { queries[$0] }
    for range in chunks(live.count, vocabulary: 3 * weight.rows) {
        let chunk = LogitChunk(hidden, weight, target.reference, target.q, asked[range])
        compute.forEach(range.count) { i in _ = row(chunk, i, asked[range.lowerBound + i], target, derivative: derivatives[live[range.lowerBound + i]]) }
        let rows = Buffer(uninitialized: range.count * hidden.columns), drows = Buffer(uninitialized: range.count * hidden.columns)
        withExtendedLifetime((rows, drows)) {
            let x = gather(hidden, asked[range], into: rows), dx = drows.matrix(rows: range.count)
            multiply(chunk.policy, weight, into: dx)
            if let dweight { transposedMultiply(chunk.policy, x, into: dweight, keep: 1) }
            for (i, query) in asked[range].enumerated() { crux_add(dhidden.row(query.row), dx.row(i), hidden.columns) }
        }
        chunk.free()
    }
}

/// KL(π || reference) and Σ π Q for each query, over the whole vocabulary.
package func jointForward(
    _ policy: FrozenHead, reference: FrozenHead, q: FrozenHead?, queries: [HeadQuery], _ compute: Compute
) -> [(kl: Float, expectedQ: Float)] {
    var answers = [(kl: Float, expectedQ: Float)](repeating: (0, 0), count: queries.count)
    answers.withUnsafeMutableBufferPointer { answers in
        for range in chunks(queries.count, vocabulary: 3 * policy.weight.rows) {
            let chunk = LogitChunk(policy.hidden, policy.weight, reference, q, queries[range]), out = UnsafeMutableBufferPointer(rebasing: answers[range])
            compute.forEach(range.count) { i in
                var kl = 0.0, expectedQ = 0.0
                crux_joint_row(
                    chunk.policy.row(i), chunk.reference.row(i), chunk.q.map { UnsafePointer($0.row(i)) }, policy.weight.rows,
                    queries[range.lowerBound + i].inverseTemperature, &kl, &expectedQ)
                out[i] = (Float(kl), Float(expectedQ))
            }
            chunk.free()
        }
    }
    return answers
}
