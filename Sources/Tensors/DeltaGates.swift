import CKernels
import Foundation

/// How a delta rule's gates come from their projections: decay = exp(−exp(A) · softplus(a + bias)), strength = σ(b), for
/// each value head.
package struct DeltaGates: Sendable {
    /// [1, Hv] each.
    package let aLog: Matrix
    package let bias: Matrix

    package init(aLog: Matrix, bias: Matrix) {
        bias.check(like: aLog, "the decays' bias")
        (self.aLog, self.bias) = (aLog, bias)
    }

    private var heads: Int { aLog.columns }

    /// a, b [T, Hv] → gates [T, 2·Hv]: decays, then strengths.
    package func forward(a: Matrix, b: Matrix, into gates: Matrix) {
        check(a, b, gates)
        for token in 0..<a.rows {
            let row = gates.row(token)
            for head in 0..<heads {
                row[head] = exp(logDecay(a.row(token)[head], head))
                row[heads + head] = 1 / (1 + exp(-b.row(token)[head]))
            }
        }
    }

    private func logDecay(_ a: Float, _ head: Int) -> Float {
        -exp(aLog.base[head]) * softplus(a + bias.base[head])
    }

    /// As PyTorch has it: the identity above 20.
    private func softplus(_ x: Float) -> Float { x > 20 ? x : log1p(exp(x)) }

    /// dgates [T, 2·Hv]; a and b go in as they were and come out as their gradients; dA, dbias +=, unless they stand
    /// still. Tokens are summed in their order.
    package func backward(
        _ dgates: Matrix, gates: Matrix, a: Matrix, b: Matrix, daLog: Matrix?, dbias: Matrix?
    ) {
        check(a, b, gates)
        dgates.check(like: gates, "the gates' gradient")
        for head in 0..<heads {
            var logSum = 0.0, biasSum = 0.0
            let rate = exp(aLog.base[head])
            for token in 0..<a.rows {
                let d = dgates.row(token), gate = gates.row(token), raw = a.row(token)[head]
                let dlog = d[head] * gate[head]
                logSum += Double(dlog * logDecay(raw, head))
                let da = -dlog * rate / (1 + exp(-(raw + bias.base[head])))
                biasSum += Double(da)
                a.row(token)[head] = da
                let strength = gate[heads + head]
                b.row(token)[head] = d[heads + head] * strength * (1 - strength)
            }
            daLog?.base[head] += Float(logSum)
            dbias?.base[head] += Float(biasSum)
        }
    }

    private func check(_ a: Matrix, _ b: Matrix, _ gates: Matrix) {
        a.check(a.rows, heads, "what decays come from")
        b.check(like: a, "what strengths come from")
        gates.check(a.rows, 2 * heads, "the gates")
    }
}

/// Queries and keys made of unit length, queries then divided by √Dk.
package struct UnitHeads: Sendable {
    private let shape: DeltaShape
    private static let epsilon: Float = 1e-6

    package init(_ shape: DeltaShape) { self.shape = shape }

    /// Of q and k: one factor for each head.
    package var factors: Int { 2 * shape.keyHeads }

    private func scale(_ head: Int) -> Float { head < shape.keyHeads ? 1 / Float(shape.keyWidth).squareRoot() : 1 }

    /// q and k of mixed [T, columns], in place; `factors` [T, 2·Hk] is for the backward half.
    package func forward(_ mixed: Matrix, factors: Matrix?, _ compute: Compute) {
        mixed.check(mixed.rows, shape.columns, "queries, keys and values")
        compute.timed(.norm) {
            compute.forEachBlock(rows: mixed.rows) { _, rows in
                for row in rows {
                    for head in 0..<2 * shape.keyHeads {
                        let x = mixed.row(row) + head * shape.keyWidth
                        let factor = crux_unit_forward(x, x, shape.keyWidth, Self.epsilon, scale(head))
                        factors?.row(row)[head] = factor
                    }
                }
            }
        }
    }

    /// Gradients of q and k in `d`, in place. `mixed`: what `forward` gave.
    package func backward(_ d: Matrix, mixed: Matrix, factors: Matrix, _ compute: Compute) {
        d.check(like: mixed, "the gradient of queries, keys and values")
        compute.timed(.norm) {
            compute.forEachBlock(rows: mixed.rows) { _, rows in
                for row in rows {
                    for head in 0..<2 * shape.keyHeads {
                        let column = head * shape.keyWidth, dx = d.row(row) + column
                        crux_unit_backward(
                            dx, mixed.row(row) + column, factors.row(row)[head], scale(head), dx, shape.keyWidth)
                    }
                }
            }
        }
    }
}
