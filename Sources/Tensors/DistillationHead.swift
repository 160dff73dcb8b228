import CKernels

/// A teacher's final hidden states and head, and how the policy's distribution is compared with its own.
package struct TeacherTarget: Sendable {
    let teacher: FrozenHead
    let divergence: TeacherDivergence

    package init(teacher: FrozenHead, divergence: TeacherDivergence) {
        (self.teacher, self.divergence) = (teacher, divergence)
    }
}

/// How far a policy S is from a teacher T.
package struct TeacherDivergence: Sendable {
    package enum Kind: Sendable {
        /// share · KL(T || S) + (1 - share) · KL(S || T)
        case directions(share: Double)
        /// β KL(T || M) + (1 - β) KL(S || M), M = (1 - β) S + β T, for β between 0 and 1
        case jensenShannon(beta: Double)
    }
    package enum Support: Sendable { case all, teacher, student }
    package enum Rest: Sendable { case bucket, renormalized, dropped }

    package var kind: Kind
    package var support: Support
    /// Likeliest tokens, and what becomes of the others.
    package var chosen: Int
    package var rest: Rest

    package init(_ kind: Kind, support: Support = .all, chosen: Int = 0, rest: Rest = .bucket) {
        (self.kind, self.support, self.chosen, self.rest) = (kind, support, chosen, rest)
    }

    fileprivate var kernel: crux_divergence {
        let (kind, share) =
            switch self.kind {
            case .directions(let share): (CRUX_FORWARD_REVERSE, share)
            case .jensenShannon(let beta): (CRUX_JENSEN_SHANNON, beta)
            }
        let support =
            switch self.support {
            case .all: CRUX_SUPPORT_ALL
            case .teacher: CRUX_SUPPORT_TEACHER
            case .student: CRUX_SUPPORT_POLICY
            }
        let rest =
            switch self.rest {
            case .bucket: CRUX_REST_BUCKET
            case .renormalized: CRUX_REST_RENORMALIZED
            case .dropped: CRUX_REST_DROPPED
            }
        return crux_divergence(kind: kind, share: Float(share), support: support, chosen: chosen, rest: rest)
    }
}

/// One row of logits beside the teacher's; with a derivative that is not 0 the policy's become their derivatives.
private func row(_ chunk: LogitChunk, _ i: Int, _ query: HeadRequest, _ what: TeacherDivergence, derivative: Float)
    -> Double
{
    var settings = what.kernel, chosen = [Int32](repeating: 0, count: max(1, min(what.chosen, chunk.policy.columns)))
    return crux_divergence_row(
        chunk.policy.row(i), chunk.reference.row(i), chunk.policy.columns, query.inverseTemperature, &settings,
        &chosen, derivative)
}

/// The divergence of each query's distribution from the teacher's.
package func distillationForward(
    _ policy: FrozenHead, target: TeacherTarget, queries: [HeadRequest], _ compute: Compute,
    in space: any Allocator = HeapAllocator()
) -> [HeadAnswer] {
    var answers = [HeadAnswer](repeating: HeadAnswer(), count: queries.count)
    answers.withUnsafeMutableBufferPointer { answers in
        forEachChunk(policy, target.teacher, nil, queries, compute, in: space) { chunk, range in
            let out = UnsafeMutableBufferPointer(rebasing: answers[range])
            compute.forEach(range.count) { i in
                let query = queries[range.lowerBound + i]
                var answer = HeadAnswer()
                crux_log_softmax_stats(
                    chunk.policy.row(i), chunk.policy.columns, query.inverseTemperature, query.target, &answer.output,
                    &answer.entropy, &answer.logSumExp)
                answer.logprob = answer.output
                answer.output = Float(row(chunk, i, query, target.divergence, derivative: 0))
                out[i] = answer
            }
        }
    }
    return answers
}

/// From dL/ddivergence of each query: dhidden[row] += and dweight +=; nothing flows into the teacher.
package func distillationBackward(
    _ policy: FrozenHead, target: TeacherTarget, queries: [HeadRequest], derivatives: [Float], dhidden: Matrix,
    dweight: Matrix?, _ compute: Compute, in space: any Allocator = HeapAllocator()
) {
    let live = queries.indices.filter { derivatives[$0] != 0 }, asked = live.map { queries[$0] }
    forEachChunk(policy, target.teacher, nil, asked, compute, in: space) { chunk, range in
        compute.forEach(range.count) { i in
            policy.head.backward(chunk.policy.row(i)) {
                let derivative = derivatives[live[range.lowerBound + i]]
                _ = row(chunk, i, asked[range.lowerBound + i], target.divergence, derivative: derivative)
            }
        }
        let x = chunk.rows.matrix(rows: range.count)
        policy.head.products(chunk.policy, x, dweight: dweight, compute)
        for (i, query) in asked[range].enumerated() { crux_add(dhidden.row(query.row), x.row(i), x.columns) }
    }
}
