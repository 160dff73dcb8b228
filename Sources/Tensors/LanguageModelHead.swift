import CKernels

/// One log-probability asked of the head: that of `target` under the distribution which `row` of the hidden states
/// predicts, at a temperature.
package struct HeadRequest: Sendable {
    package let row: Int
    package let target: Int32
    package let inverseTemperature: Float
    /// Added to the target's log-odds where a distribution is drawn towards another.
    package let bonus: Float
    /// The tokens that the softmax goes over, the target among them; nil is the whole vocabulary.
    package let support: ArraySlice<Int32>?

    package init(
        row: Int, target: Int32, inverseTemperature: Float, bonus: Float = 0, support: ArraySlice<Int32>? = nil
    ) {
        self.row = row
        self.target = target
        self.inverseTemperature = inverseTemperature
        self.bonus = bonus
        self.support = support
    }
}

/// What the head says about one query; natural logarithms, nats.
package struct HeadAnswer: Sendable {
    /// The log-probability, or what else the head was asked for: a value, a logit, a divergence.
    package var output: Float = 0
    package var entropy: Float = 0
    /// The token's log-probability, where the output is a divergence.
    package var logprob: Float?
    /// Of logits / temperature; the backward half rebuilds probabilities from it.
    package var logSumExp: Float = 0
}

/// What a loss's derivatives are by an answer.
package struct HeadDerivative: Equatable, Sendable {
    package var output: Float = 0
    /// 0 but where entropies have a part in the loss.
    package var entropy: Float = 0

    package init(output: Float = 0, entropy: Float = 0) { (self.output, self.entropy) = (output, entropy) }

    var isZero: Bool { output == 0 && entropy == 0 }
}

/// Logits of a chunk stay below this many floats (128 MiB), so a [tokens, V] matrix never exists.
private let chunkFloats = 32 << 20

/// Queries whose logits make up such a chunk.
package func smallChunkRows(vocabulary: Int) -> Int { max(16, chunkFloats / max(1, vocabulary)) }

func chunks(_ count: Int, vocabulary: Int) -> [Range<Int>] {
    stride(from: 0, to: count, by: smallChunkRows(vocabulary: vocabulary)).map {
        $0..<min(count, $0 + smallChunkRows(vocabulary: vocabulary))
    }
}

func gather(_ hidden: Matrix, _ queries: ArraySlice<HeadRequest>, into buffer: Buffer) -> Matrix {
    let gathered = Matrix(buffer.pointer, rows: queries.count, columns: hidden.columns)
    for (i, query) in queries.enumerated() {
        gathered.row(i).update(from: hidden.row(query.row), count: hidden.columns)
    }
    return gathered
}

/// What the head works in for a number of queries: gathered hidden states [Q, C] and logits [Q, V].
package struct HeadArrays {
    let rows: Buffer
    let logits: Buffer

    package init(queries: Int, width: Int, vocabulary: Int, in space: any Allocator) {
        rows = space.take(queries * width)
        logits = space.take(queries * vocabulary)
    }
}

/// Log-probability and entropy for each query. hidden [T, C] (after the final norm), the head's weight [V, C].
package func headForward(
    _ hidden: Matrix, _ head: LogitHead, queries: [HeadRequest], _ compute: Compute,
    in space: any Allocator = HeapAllocator()
) -> [HeadAnswer] {
    var answers = [HeadAnswer](repeating: HeadAnswer(), count: queries.count)
    let ranges = chunks(queries.count, vocabulary: head.vocabulary), widest = ranges.first?.count ?? 0
    space.scoped {
        let arrays = HeadArrays(queries: widest, width: hidden.columns, vocabulary: head.vocabulary, in: space)
        answers.withUnsafeMutableBufferPointer { answers in
            for range in ranges {
                let x = gather(hidden, queries[range], into: arrays.rows)
                let z = Matrix(arrays.logits.pointer, rows: range.count, columns: head.vocabulary)
                head.logits(x, into: z, compute)
                answer(queries[range], z, UnsafeMutableBufferPointer(rebasing: answers[range]), compute)
            }
        }
    }
    return answers
}

/// Logits `z` [Q, V] of some queries → what they say.
private func answer(
    _ queries: ArraySlice<HeadRequest>, _ z: Matrix, _ out: UnsafeMutableBufferPointer<HeadAnswer>, _ compute: Compute
) {
    compute.timed(.softmax) {
        compute.forEach(queries.count) { i in
            let query = queries[queries.startIndex + i]
            var answer = HeadAnswer()
            query.withReachable(z.row(i), z.columns) { logits, count, target in
                crux_log_softmax_stats(
                    logits, count, query.inverseTemperature, target, &answer.output, &answer.entropy,
                    &answer.logSumExp)
            }
            out[i] = answer
        }
    }
}

/// Logits `z` [Q, V] → dL/d(what the head's product gave) in their place.
private func logitGradients(
    _ head: LogitHead, _ z: Matrix, _ queries: [HeadRequest], answer: (Int) -> HeadAnswer,
    derivative: (Int) -> HeadDerivative, _ compute: Compute
) {
    compute.timed(.softmax) {
        compute.forEach(queries.count) { i in
            let (query, answer, derivative) = (queries[i], answer(i), derivative(i))
            head.backward(z.row(i)) {
                query.replacingReachable(z.row(i), z.columns) { logits, count, target in
                    guard derivative.entropy != 0 else {
                        return crux_head_backward_row(
                            logits, count, query.inverseTemperature, answer.logSumExp, target, derivative.output)
                    }
                    crux_head_backward_row_with_entropy(
                        logits, count, query.inverseTemperature, answer.logSumExp, target, derivative.output,
                        answer.entropy, derivative.entropy)
                }
            }
        }
    }
}

/// Both halves with the logits computed once, [queries, V] in memory meanwhile: for as many queries as a chunk holds
/// (`headChunkRows`). `derivatives`: from the answers to the loss's by each.
package func headLearn(
    _ hidden: Matrix, _ head: LogitHead, queries: [HeadRequest], dhidden: Matrix, dweight: Matrix?, _ compute: Compute,
    in space: any Allocator = HeapAllocator(),
    derivatives: ([HeadAnswer]) throws -> [HeadDerivative]
) rethrows {
    try space.scoped {
        let arrays = HeadArrays(queries: queries.count, width: hidden.columns, vocabulary: head.vocabulary, in: space)
        defer { withExtendedLifetime(arrays) {} }
        let x = gather(hidden, queries[...], into: arrays.rows),
            z = Matrix(arrays.logits.pointer, rows: queries.count, columns: head.vocabulary)
        head.logits(x, into: z, compute)
        var answers = [HeadAnswer](repeating: HeadAnswer(), count: queries.count)
        answers.withUnsafeMutableBufferPointer { answer(queries[...], z, $0, compute) }
        let derivatives = try derivatives(answers)
        // Queries without a derivative give way to those that have one, so that the products shrink.
        let live = queries.indices.filter { !derivatives[$0].isZero }
        for (place, index) in live.enumerated() where place != index {
            z.row(place).update(from: z.row(index), count: z.columns)
            x.row(place).update(from: x.row(index), count: x.columns)
        }
        let dz = Matrix(z.base, rows: live.count, columns: z.columns),
            kept = Matrix(x.base, rows: live.count, columns: x.columns)
        logitGradients(
            head, dz, live.map { queries[$0] }, answer: { answers[live[$0]] }, derivative: { derivatives[live[$0]] },
            compute)
        head.products(dz, kept, dweight: dweight, compute)
        for (place, index) in live.enumerated() {
            crux_add(dhidden.row(queries[index].row), kept.row(place), hidden.columns)
        }
    }
}

/// Queries whose logits `headLearn` may hold at a time: 512 MiB of them.
package func headChunkRows(vocabulary: Int) -> Int { max(64, (128 << 20) / max(1, vocabulary)) }

/// From the loss's derivatives by each query's answer: dhidden[row] += and, unless the head stands still, dweight +=. Logits are computed
/// once more, chunk by chunk.
package func headBackward(
    _ hidden: Matrix, _ head: LogitHead, queries: [HeadRequest], answers: [HeadAnswer],
    derivatives: [HeadDerivative],
    dhidden: Matrix,
    dweight: Matrix?,
    _ compute: Compute, in space: any Allocator = HeapAllocator()
) {
    let live = queries.indices.filter { !derivatives[$0].isZero }
    let ranges = chunks(live.count, vocabulary: head.vocabulary), widest = ranges.first?.count ?? 0
    space.scoped {
        let arrays = HeadArrays(queries: widest, width: hidden.columns, vocabulary: head.vocabulary, in: space)
        for range in ranges {
            let indices = live[range], asked = indices.map { queries[$0] }
            let x = gather(hidden, asked[...], into: arrays.rows),
                z = Matrix(arrays.logits.pointer, rows: range.count, columns: head.vocabulary)
            head.logits(x, into: z, compute)
            logitGradients(
                head, z, asked, answer: { answers[indices[range.lowerBound + $0]] },
                derivative: { derivatives[indices[range.lowerBound + $0]] }, compute)
            head.products(z, x, dweight: dweight, compute)
            for (i, query) in asked.enumerated() { crux_add(dhidden.row(query.row), x.row(i), hidden.columns) }
        }
    }
}
