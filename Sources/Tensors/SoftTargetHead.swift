import CKernels

/// A model that stands still: its final hidden states of a batch's tokens, [T, C'], and its head, [V, C'].
package struct FrozenHead: Sendable {
    let hidden: Matrix
    let head: LogitHead

    package init(hidden: Matrix, head: LogitHead) { (self.hidden, self.head) = (hidden, head) }
}

/// Log-probability and entropy for each query under a model that stands still.
package func headForward(_ frozen: FrozenHead, queries: [HeadRequest], _ compute: Compute) -> [HeadAnswer] {
    headForward(frozen.hidden, frozen.head, queries: queries, compute)
}

/// What a query's distribution is drawn towards: π* ∝ softmax(reference / T) · exp(Q / β + bonus).
package struct SoftTarget: Sendable {
    let reference: FrozenHead
    /// nil: the bonus of the query's token alone.
    let q: FrozenHead?
    let inverseBeta: Float

    package init(reference: FrozenHead, q: FrozenHead?, inverseBeta: Float) {
        (self.reference, self.q, self.inverseBeta) = (reference, q, inverseBeta)
    }
}

/// Logits of up to three models for the rows of one chunk.
struct LogitChunk {
    let policy: Matrix
    let reference: Matrix
    let q: Matrix?

    /// Holds the matrices' memory.
    private let arrays: [HeadArrays]

    fileprivate init(
        _ policy: FrozenHead, _ reference: FrozenHead, _ q: FrozenHead?, _ queries: ArraySlice<HeadRequest>,
        _ compute: Compute, in space: any Allocator
    ) {
        let heads = [policy, reference] + (q.map { [$0] } ?? [])
        arrays = heads.map {
            HeadArrays(queries: queries.count, width: $0.hidden.columns, vocabulary: $0.head.vocabulary, in: space)
        }
        let logits = zip(heads, arrays).map { model, arrays in
            let z = Matrix(arrays.logits.pointer, rows: queries.count, columns: model.head.vocabulary)
            model.head.logits(gather(model.hidden, queries, into: arrays.rows), into: z, compute)
            return z
        }
        (self.policy, self.reference, self.q) = (logits[0], logits[1], q == nil ? nil : logits[2])
    }

    /// The policy's hidden states of the queries, [Q, C].
    var rows: Buffer { arrays[0].rows }
}

/// Runs `body` on the logits of each chunk of queries in turn.
func forEachChunk(
    _ policy: FrozenHead, _ reference: FrozenHead, _ q: FrozenHead?, _ queries: [HeadRequest], _ compute: Compute,
    in space: any Allocator,
    _ body: (LogitChunk, Range<Int>) -> Void
) {
    for range in chunks(queries.count, vocabulary: 3 * policy.head.vocabulary) {
        space.scoped {
            let chunk = LogitChunk(policy, reference, q, queries[range], compute, in: space)
            withExtendedLifetime(chunk) { body(chunk, range) }
        }
    }
}

/// KL(π || π*) for each query.
package func softTargetForward(
    _ policy: FrozenHead, target: SoftTarget, queries: [HeadRequest], _ compute: Compute,
    in space: any Allocator = HeapAllocator()
) -> [HeadAnswer] {
    var answers = [HeadAnswer](repeating: HeadAnswer(), count: queries.count)
    answers.withUnsafeMutableBufferPointer { answers in
        forEachChunk(policy, target.reference, target.q, queries, compute, in: space) { chunk, range in
            let out = UnsafeMutableBufferPointer(rebasing: answers[range])
            compute.forEach(range.count) { i in
                let query = queries[range.lowerBound + i]
                var answer = HeadAnswer()
                crux_log_softmax_stats(
                    chunk.policy.row(i), chunk.policy.columns, query.inverseTemperature, query.target, &answer.output,
                    &answer.entropy, &answer.logSumExp)
                answer.output = Float(row(chunk, i, query, target, derivative: 0))
                out[i] = answer
            }
        }
    }
    return answers
}

private func row(_ chunk: LogitChunk, _ i: Int, _ query: HeadRequest, _ target: SoftTarget, derivative: Float) -> Double
{
    crux_target_row(
        chunk.policy.row(i), chunk.reference.row(i), chunk.q.map { UnsafePointer($0.row(i)) }, chunk.policy.columns,
        query.inverseTemperature, target.inverseBeta,
        query.target, query.bonus, derivative)
}

/// From dL/dKL of each query: dhidden[row] += and dweight +=; nothing flows into the frozen models.
package func softTargetBackward(
    _ policy: FrozenHead, target: SoftTarget, queries: [HeadRequest], derivatives: [Float], dhidden: Matrix,
    dweight: Matrix?, _ compute: Compute,
    in space: any Allocator = HeapAllocator()
) {
    let live = queries.indices.filter { derivatives[$0] != 0 }, asked = live.map { queries[$0] }
    forEachChunk(policy, target.reference, target.q, asked, compute, in: space) { chunk, range in
        compute.forEach(range.count) { i in
            policy.head.backward(chunk.policy.row(i)) {
                let derivative = derivatives[live[range.lowerBound + i]]
                _ = row(chunk, i, asked[range.lowerBound + i], target, derivative: derivative)
            }
        }
        let x = chunk.rows.matrix(rows: range.count)
        policy.head.products(chunk.policy, x, dweight: dweight, compute)
        for (i, query) in asked[range].enumerated() { crux_add(dhidden.row(query.row), x.row(i), x.columns) }
    }
}

/// Of a state, over the whole vocabulary.
package struct JointAnswer: Sendable {
    /// KL(π || reference)
    package var kl: Float = 0
    /// Σ π Q
    package var expectedQ: Float = 0
    /// Tokens that π reaches and the reference excludes, whose log-probability counts as -30.
    package var excluded = 0
}

/// KL(π || reference) and Σ π Q for each query.
package func jointForward(
    _ policy: FrozenHead, reference: FrozenHead, q: FrozenHead?, queries: [HeadRequest], _ compute: Compute,
    in space: any Allocator = HeapAllocator()
) -> [JointAnswer] {
    var answers = [JointAnswer](repeating: JointAnswer(), count: queries.count)
    answers.withUnsafeMutableBufferPointer { answers in
        forEachChunk(policy, reference, q, queries, compute, in: space) { chunk, range in
            let out = UnsafeMutableBufferPointer(rebasing: answers[range])
            compute.forEach(range.count) { i in
                var kl = 0.0, expectedQ = 0.0
                let excluded = crux_joint_row(
                    chunk.policy.row(i), chunk.reference.row(i), chunk.q.map { UnsafePointer($0.row(i)) },
                    policy.head.vocabulary,
                    queries[range.lowerBound + i].inverseTemperature, &kl, &expectedQ)
                out[i] = JointAnswer(kl: Float(kl), expectedQ: Float(expectedQ), excluded: excluded)
            }
        }
    }
    return answers
}
