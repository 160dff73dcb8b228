import CKernels

/// One log-probability asked of the head: that of `target` under the distribution which `row` of the hidden states
/// predicts, at a temperature.
package struct HeadQuery: Sendable {
    package let row: Int
    package let target: Int32
    package let inverseTemperature: Float
    /// Added to the target's log-odds where a distribution is drawn towards another.
    package let bonus: Float

    package init(row: Int, target: Int32, inverseTemperature: Float, bonus: Float = 0) {
        self.row = row
        self.target = target
        self.inverseTemperature = inverseTemperature
        self.bonus = bonus
    }
}

/// What the head says about one query; natural logarithms, nats.
package struct HeadAnswer: Sendable {
    /// The log-probability, or what else the head was asked for: a value, a logit, a divergence.
    package var output: Float = 0
    package var entropy: Float = 0
    /// Of logits / temperature; the backward half rebuilds probabilities from it.
    package var logSumExp: Float = 0
}

/// Logits of a chunk stay below this many floats (128 MiB), so a [tokens, V] matrix never exists.
private let chunkFloats = 32 << 20

func chunks(_ count: Int, vocabulary: Int) -> [Range<Int>] {
    let rows = max(16, chunkFloats / max(1, vocabulary))
    return stride(from: 0, to: count, by: rows).map { $0..<min(count, $0 + rows) }
}

func gather(_ hidden: Matrix, _ queries: ArraySlice<HeadQuery>, into buffer: Buffer) -> Matrix {
    let gathered = Matrix(buffer.pointer, rows: queries.count, columns: hidden.columns)
    for (i, query) in queries.enumerated() { gathered.row(i).update(from: hidden.row(query.row), count: hidden.columns) }
    return gathered
}

/// Log-probability and entropy for each query. hidden [T, C] (after the final norm), weight [V, C].
package func headForward(_ hidden: Matrix, weight: Matrix, queries: [HeadQuery], _ compute: Compute) -> [HeadAnswer] {
    var answers = [HeadAnswer](repeating: HeadAnswer(), count: queries.count)
    let ranges = chunks(queries.count, vocabulary: weight.rows), widest = ranges.first?.count ?? 0
    let rows = Buffer(uninitialized: widest * hidden.columns), logits = Buffer(uninitialized: widest * weight.rows)
    answers.withUnsafeMutableBufferPointer { answers in
        for range in ranges {
            let x = gather(hidden, queries[range], into: rows)
            let z = Matrix(logits.pointer, rows: range.count, columns: weight.rows)
            multiplyTransposed(x, weight, into: z)
            let out = UnsafeMutableBufferPointer(rebasing: answers[range])
            compute.forEach(range.count) { i in
                let query = queries[range.lowerBound + i]
                var answer = HeadAnswer()
                crux_log_softmax_stats(
                    z.row(i), z.columns, query.inverseTemperature, query.target, &answer.output, &answer.entropy, &answer.logSumExp)
                out[i] = answer
            }
        }
    }
    return answers
}

/// From dL/dlogprob of each query: dhidden[row] += and, unless the head stands still, dweight +=. Logits are computed once more, chunk by chunk.
package func headBackward(
    _ hidden: Matrix, weight: Matrix, queries: [HeadQuery], answers: [HeadAnswer], dlogprobs: [Float], dhidden: Matrix, dweight: Matrix?,
    _ compute: Compute
) {
    let live = queries.indices.filter { dlogprobs[$0] != 0 }
    let ranges = chunks(live.count, vocabulary: weight.rows), widest = ranges.first?.count ?? 0
    let rows = Buffer(uninitialized: widest * hidden.columns), drows = Buffer(uninitialized: widest * hidden.columns)
    let logits = Buffer(uninitialized: widest * weight.rows)
    for range in ranges {
        let indices = live[range], asked = indices.map { queries[$0] }
        let x = gather(hidden, asked[...], into: rows)
        let z = Matrix(logits.pointer, rows: range.count, columns: weight.rows)
        multiplyTransposed(x, weight, into: z)
        compute.forEach(range.count) { i in
            let index = live[range.lowerBound + i]
            crux_head_backward_row(
                z.row(i), z.columns, asked[i].inverseTemperature, answers[index].logSumExp, asked[i].target, dlogprobs[index])
        }
        let dx = Matrix(drows.pointer, rows: range.count, columns: hidden.columns)
        multiply(z, weight, into: dx)
        if let dweight { transposedMultiply(z, x, into: dweight, keep: 1) }
        for (i, query) in asked.enumerated() { crux_add(dhidden.row(query.row), dx.row(i), hidden.columns) }
    }
}
