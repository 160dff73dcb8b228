import CKernels

/// A scalar for each query: weight · hidden[row] + bias, the critic's value of the state that predicts the query's
/// token. hidden [T, C] (after the final norm), weight [1, C], bias [1] or nil.
package func valueHeadForward(_ hidden: Matrix, weight: Matrix, bias: Matrix?, queries: [HeadRequest]) -> [HeadAnswer] {
    hidden.check(hidden.rows, weight.columns, "what a value head reads")
    return queries.map { query in
        var answer = HeadAnswer()
        answer.output = crux_dot(hidden.row(query.row), weight.base, hidden.columns) + (bias.map { $0.base[0] } ?? 0)
        return answer
    }
}

/// From dL/dvalue of each query: dhidden[row] +=, dweight +=, dbias +=.
package func valueHeadBackward(
    _ hidden: Matrix, weight: Matrix, queries: [HeadRequest], derivatives: [Float], dhidden: Matrix, dweight: Matrix?,
    dbias: Matrix?
) {
    for (query, derivative) in zip(queries, derivatives) where derivative != 0 {
        addScaled(weight.base, derivative, into: dhidden.row(query.row), count: hidden.columns)
        if let dweight { addScaled(hidden.row(query.row), derivative, into: dweight.base, count: hidden.columns) }
        if let dbias { dbias.base[0] += derivative }
    }
}

/// The logit of each query's token: Q(s, w) of a Q network. hidden [T, C], the head's weight [V, C].
package func tokenLogitForward(_ hidden: Matrix, _ head: LogitHead, queries: [HeadRequest]) -> [HeadAnswer] {
    queries.map { query in
        var answer = HeadAnswer()
        answer.output = head.weight.withRow(Int(query.target)) {
            crux_dot(hidden.row(query.row), $0, hidden.columns)
        }
        head.finish(&answer.output, 1)
        return answer
    }
}

/// From dL/dlogit of each query: dhidden[row] += and the token's row of dweight +=. `answers`: what the forward half
/// said.
package func tokenLogitBackward(
    _ hidden: Matrix, _ head: LogitHead, queries: [HeadRequest], answers: [HeadAnswer], derivatives: [Float],
    dhidden: Matrix, dweight: Matrix?
) {
    for (index, query) in queries.enumerated() where derivatives[index] != 0 {
        var derivative = derivatives[index] * head.scale
        if let cap = head.cap { derivative *= 1 - (answers[index].output / cap) * (answers[index].output / cap) }
        head.weight.withRow(Int(query.target)) {
            addScaled($0, derivative, into: dhidden.row(query.row), count: hidden.columns)
        }
        if let dweight {
            addScaled(hidden.row(query.row), derivative, into: dweight.row(Int(query.target)), count: hidden.columns)
        }
    }
}
