import CKernels

/// A scalar for each query: weight · hidden[row] + bias, the critic's value of the state that predicts the query's
/// token. hidden [T, C] (after the final norm), weight [1, C], bias [1] or nil.
package func valueHeadForward(_ hidden: Matrix, weight: Matrix, bias: Matrix?, queries: [HeadQuery]) -> [HeadAnswer] {
    queries.map { query in
        var answer = HeadAnswer()
        answer.output = crux_dot(hidden.row(query.row), weight.base, hidden.columns) + (bias.map { $0.base[0] } ?? 0)
        return answer
    }
}

/// From dL/dvalue of each query: dhidden[row] +=, dweight +=, dbias +=.
package func valueHeadBackward(
    _ hidden: Matrix, weight: Matrix, queries: [HeadQuery], derivatives: [Float], dhidden: Matrix, dweight: Matrix?,
    dbias: Matrix?
) {
    for (query, derivative) in zip(queries, derivatives) where derivative != 0 {
        addScaled(weight.base, derivative, into: dhidden.row(query.row), count: hidden.columns)
        if let dweight { addScaled(hidden.row(query.row), derivative, into: dweight.base, count: hidden.columns) }
        if let dbias { dbias.base[0] += derivative }
    }
}

/// The raw logit of each query's token: Q(s, w) of a Q network. hidden [T, C], weight [V, C].
package func tokenLogitForward(_ hidden: Matrix, weight: Matrix, queries: [HeadQuery]) -> [HeadAnswer] {
    queries.map { query in
        var answer = HeadAnswer()
        answer.output = crux_dot(hidden.row(query.row), weight.row(Int(query.target)), hidden.columns)
        return answer
    }
}

/// From dL/dlogit of each query: dhidden[row] += and the token's row of dweight +=.
package func tokenLogitBackward(
    _ hidden: Matrix, weight: Matrix, queries: [HeadQuery], derivatives: [Float], dhidden: Matrix, dweight: Matrix?
) {
    for (query, derivative) in zip(queries, derivatives) where derivative != 0 {
        addScaled(weight.row(Int(query.target)), derivative, into: dhidden.row(query.row), count: hidden.columns)
        if let dweight {
            addScaled(hidden.row(query.row), derivative, into: dweight.row(Int(query.target)), count: hidden.columns)
        }
    }
}

private func addScaled(_ x: UnsafePointer<Float>, _ scale: Float, into y: UnsafeMutablePointer<Float>, count: Int) {
    for i in 0..<count { y[i] += scale * x[i] }
}
