import CKernels
import Foundation
import TestSupport
import Testing

/// The gated delta rule and what stands before it, against the slow obvious form in Double, on every instruction set
/// that there is.
@Suite(.serialized) struct DeltaKernelTests {
    struct Sizes: CustomTestStringConvertible, Sendable {
        let keys: Int
        let values: Int
        let tokens: Int
        var testDescription: String { "\(keys) keys, \(values) values, \(tokens) tokens" }
    }

    /// Around the widths of panels, with and without a rest.
    static let sizes = [
        Sizes(keys: 1, values: 1, tokens: 1), Sizes(keys: 6, values: 5, tokens: 9),
        Sizes(keys: 4, values: 16, tokens: 3), Sizes(keys: 13, values: 33, tokens: 64),
        Sizes(keys: 8, values: 70, tokens: 11), Sizes(keys: 64, values: 64, tokens: 5),
    ]

    private struct Numbers {
        private var generator: SplitMix

        init(_ seed: Int) { generator = SplitMix(seed: UInt64(seed)) }

        mutating func uniform() -> Double { Double(generator.next() >> 11) / Double(1 << 53) }
        mutating func row(_ count: Int, _ scale: Double = 1) -> [Float] {
            (0..<count).map { _ in Float(scale * (2 * uniform() - 1)) }
        }
    }

    /// One head's tokens, rows with a gap behind them, keys of about unit length.
    private struct Problem {
        let sizes: Sizes
        let stride: Int
        var q: [Float]
        var k: [Float]
        var v: [Float]
        var decay: [Float]
        var strength: [Float]
        /// [keys, values]
        var state: [Double]
        let dout: [Float]
        let dstate: [Double]

        init(_ sizes: Sizes, seed: Int) {
            var numbers = Numbers(seed)
            self.sizes = sizes
            stride = max(sizes.keys, sizes.values) + 3
            let scale = (3 / Double(sizes.keys)).squareRoot(), count = stride * sizes.tokens
            (q, k, v) = (numbers.row(count, scale), numbers.row(count, scale), numbers.row(count))
            decay = (0..<sizes.tokens).map { _ in Float(0.6 + 0.4 * numbers.uniform()) }
            strength = (0..<sizes.tokens).map { _ in Float(numbers.uniform()) }
            state = numbers.row(sizes.keys * sizes.values).map(Double.init)
            dout = numbers.row(count)
            dstate = numbers.row(sizes.keys * sizes.values).map(Double.init)
        }

        /// What is read at each token, [tokens, values], and the state behind the last.
        func forward() -> (out: [Double], state: [Double]) {
            let (keys, values) = (sizes.keys, sizes.values)
            var s = state, out: [Double] = []
            for t in 0..<sizes.tokens {
                for i in s.indices { s[i] *= Double(decay[t]) }
                let u = (0..<values).map { j in
                    let read = (0..<keys).reduce(0) { $0 + s[$1 * values + j] * Double(k[t * stride + $1]) }
                    return Double(strength[t]) * (Double(v[t * stride + j]) - read)
                }
                for i in 0..<keys { for j in 0..<values { s[i * values + j] += Double(k[t * stride + i]) * u[j] } }
                out += (0..<values).map { j in
                    (0..<keys).reduce(0) { $0 + s[$1 * values + j] * Double(q[t * stride + $1]) }
                }
            }
            return (out, s)
        }

        /// Σ dout · out + Σ dstate · state behind.
        var loss: Double {
            let (out, state) = forward()
            let ofState = zip(state, dstate).reduce(0) { $0 + $1.0 * $1.1 }
            return (0..<sizes.tokens).reduce(ofState) { sum, t in
                (0..<sizes.values).reduce(sum) { $0 + Double(dout[t * stride + $1]) * out[t * sizes.values + $1] }
            }
        }
    }

    /// As the kernels lay a state out: panels of columns.
    private func panels(_ state: [Double], _ sizes: Sizes) -> [Float] {
        var laid = [Float](repeating: 0, count: crux_delta_state_count(sizes.keys, sizes.values))
        for i in 0..<sizes.keys {
            for j in 0..<sizes.values { laid[place(i, j, sizes)] = Float(state[i * sizes.values + j]) }
        }
        return laid
    }

    private func place(_ i: Int, _ j: Int, _ sizes: Sizes) -> Int {
        let panel = Int(CRUX_PANEL)
        return j / panel * panel * sizes.keys + i * panel + j % panel
    }

    private func onEveryInstructionSet(_ body: () -> Void) {
        let best = crux_best_instruction_set()
        for set in [CRUX_PLAIN, CRUX_AVX2, CRUX_AVX512] where set.rawValue <= best.rawValue {
            crux_set_instruction_set(set)
            body()
        }
        crux_set_instruction_set(best)
    }

    private func withInputs(_ p: Problem, _ body: (crux_delta_inputs) -> Void) {
        p.q.withUnsafeBufferPointer { q in
            p.k.withUnsafeBufferPointer { k in
                p.v.withUnsafeBufferPointer { v in
                    p.decay.withUnsafeBufferPointer { decay in
                        p.strength.withUnsafeBufferPointer { strength in
                            body(
                                crux_delta_inputs(
                                    q: q.baseAddress, k: k.baseAddress, v: v.baseAddress, decay: decay.baseAddress,
                                    strength: strength.baseAddress, stride: p.stride, gate_stride: 1,
                                    keys: p.sizes.keys, values: p.sizes.values))
                        }
                    }
                }
            }
        }
    }

    @Test(arguments: sizes) func theRuleIsThatOfTheObviousForm(_ sizes: Sizes) {
        let problem = Problem(sizes, seed: sizes.keys), expected = problem.forward()
        onEveryInstructionSet {
            var state = panels(problem.state, sizes), quiet = state
            var out = [Float](repeating: 7, count: problem.stride * sizes.tokens)
            withInputs(problem) { inputs in
                var inputs = inputs
                crux_delta_forward(&inputs, sizes.tokens, &state, &out, problem.stride)
                crux_delta_forward(&inputs, sizes.tokens, &quiet, nil, 0)
            }
            #expect(firstDifference(state, panels(expected.state, sizes), absolute: 2e-5) == nil)
            #expect(state == quiet)
            for t in 0..<sizes.tokens {
                let row = Array(out[t * problem.stride..<(t + 1) * problem.stride])
                let wanted = expected.out[t * sizes.values..<(t + 1) * sizes.values].map { Float($0) }
                #expect(firstDifference(Array(row[..<sizes.values]), wanted, absolute: 2e-5) == nil)
                #expect(row[sizes.values...].allSatisfy { $0 == 7 }, "written beyond the values")
            }
        }
    }

    /// Tokens in parts give the same bytes as in one go.
    @Test func partsGoOnFromEachOther() {
        let sizes = Sizes(keys: 7, values: 40, tokens: 23), problem = Problem(sizes, seed: 4)
        var whole = panels(problem.state, sizes), parts = whole
        withInputs(problem) { inputs in
            var inputs = inputs
            crux_delta_forward(&inputs, 23, &whole, nil, 0)
            for (start, count) in [(0, 1), (1, 9), (10, 13)] {
                var part = inputs
                part.q += start * problem.stride
                part.k += start * problem.stride
                part.v += start * problem.stride
                part.decay += start
                part.strength += start
                crux_delta_forward(&part, count, &parts, nil, 0)
            }
        }
        #expect(whole == parts)
    }

    @Test(arguments: sizes) func everyDerivativeEqualsCentralDifferences(_ sizes: Sizes) {
        let problem = Problem(sizes, seed: 100 + sizes.keys), count = problem.stride * sizes.tokens
        onEveryInstructionSet {
            let state = panels(problem.state, sizes)
            var dstate = panels(problem.dstate, sizes), dq = [Float](repeating: 0.5, count: count), dk = dq, dv = dq
            var ddecay = [Float](repeating: 9, count: sizes.tokens), dstrength = ddecay
            var space = [Float](repeating: .nan, count: crux_delta_space_count(sizes.tokens, sizes.keys))
            withInputs(problem) { inputs in
                var inputs = inputs
                dq.withUnsafeMutableBufferPointer { dq in
                    dk.withUnsafeMutableBufferPointer { dk in
                        dv.withUnsafeMutableBufferPointer { dv in
                            ddecay.withUnsafeMutableBufferPointer { ddecay in
                                dstrength.withUnsafeMutableBufferPointer { dstrength in
                                    var d = crux_delta_gradients(
                                        q: dq.baseAddress, k: dk.baseAddress, v: dv.baseAddress,
                                        decay: ddecay.baseAddress, strength: dstrength.baseAddress)
                                    crux_delta_backward(
                                        &inputs, sizes.tokens, state, problem.dout, problem.stride, &dstate, &d, &space)
                                }
                            }
                        }
                    }
                }
            }
            func check(_ found: Float, _ name: String, _ move: (inout Problem, Double) -> Void) {
                var above = problem, below = problem
                move(&above, 1e-3)
                move(&below, -1e-3)
                // Float32 rounds the step of what is stored in it.
                let slope = (above.loss - below.loss) / 2e-3
                #expect(isClose(Double(found), slope, absolute: 2e-3, relative: 2e-3), "\(name)")
            }
            var places: [(Int, Int)] = []
            for t in Set([0, sizes.tokens / 2, sizes.tokens - 1]) {
                for i in Set([0, sizes.keys - 1]) { places.append((t, i)) }
            }
            for (t, i) in places {
                let index = t * problem.stride + i
                check(dq[index] - 0.5, "dq") { $0.q[index] += Float($1) }
                check(dk[index] - 0.5, "dk") { $0.k[index] += Float($1) }
                let j = min(i, sizes.values - 1), last = t * problem.stride + sizes.values - 1
                check(dv[t * problem.stride + j], "dv") { $0.v[t * problem.stride + j] += Float($1) }
                check(dv[last], "the last dv") { $0.v[last] += Float($1) }
                check(ddecay[t], "ddecay") { $0.decay[t] += Float($1) }
                check(dstrength[t], "dstrength") { $0.strength[t] += Float($1) }
                let corner = i * sizes.values + sizes.values - 1
                check(dstate[place(i, sizes.values - 1, sizes)], "dstate") { $0.state[corner] += $1 }
            }
        }
    }

    // MARK: before the rule

    private func silu(_ x: Double) -> Double { x / (1 + exp(-x)) }

    @Test(arguments: [1, 16, 255, 600]) func aConvolutionAndItsBackwardHalf(_ n: Int) {
        var numbers = Numbers(n)
        let taps = 4, w = numbers.row(taps * n), dy = numbers.row(n)
        let rows = (0..<taps).map { _ in numbers.row(n, 2) }
        // The sequence begins with its second row.
        let isThere = [false, true, true, true]
        var y = [Float](repeating: 0, count: n), dw = numbers.row(taps * n), dx = (0..<taps).map { _ in numbers.row(n) }
        let (dw0, dx0) = (dw, dx)
        var flat = rows.flatMap { $0 }, dflat = dx.flatMap { $0 }
        flat.withUnsafeMutableBufferPointer { x in
            dflat.withUnsafeMutableBufferPointer { d in
                let x0 = x.baseAddress, d0 = d.baseAddress
                let pointers = (0..<taps).map { tap in isThere[tap] ? x0.map { UnsafePointer($0 + tap * n) } : nil }
                let gradients = (0..<taps).map { tap in isThere[tap] ? d0.map { $0 + tap * n } : nil }
                crux_convolve_silu(pointers, w, n, taps, &y, n)
                crux_convolve_silu_backward(pointers, w, n, taps, dy, gradients, &dw, n)
            }
        }
        dx = (0..<taps).map { Array(dflat[$0 * n..<($0 + 1) * n]) }
        for i in 0..<n {
            let sum = (0..<taps).reduce(0) { isThere[$1] ? $0 + Double(w[$1 * n + i]) * Double(rows[$1][i]) : $0 }
            let s = 1 / (1 + exp(-sum)), slope = Double(dy[i]) * s * (1 + sum * (1 - s))
            #expect(isClose(Double(y[i]), silu(sum), absolute: 4e-6))
            for tap in 0..<taps {
                let found = Double(dx[tap][i] - dx0[tap][i]), ofWeight = Double(dw[tap * n + i] - dw0[tap * n + i])
                let there = isThere[tap] ? slope : 0
                #expect(isClose(found, there * Double(w[tap * n + i]), absolute: 4e-6))
                #expect(isClose(ofWeight, there * Double(rows[tap][i]), absolute: 4e-6))
            }
        }
    }

    @Test(arguments: [1, 6, 128]) func unitLengthAndItsBackwardHalf(_ n: Int) {
        var numbers = Numbers(n)
        let x = numbers.row(n), dy = numbers.row(n)
        var y = x, dx = dy
        let r = y.withUnsafeMutableBufferPointer { y in
            crux_unit_forward(y.baseAddress, y.baseAddress, n, 1e-6, 0.3)
        }
        dx.withUnsafeMutableBufferPointer { crux_unit_backward($0.baseAddress, y, r, 0.3, $0.baseAddress, n) }
        func unit(_ x: [Double]) -> [Double] {
            let length = (x.reduce(0) { $0 + $1 * $1 } + 1e-6).squareRoot()
            return x.map { 0.3 * $0 / length }
        }
        let wide = x.map(Double.init), expected = unit(wide)
        for i in 0..<n {
            #expect(isClose(Double(y[i]), expected[i], absolute: 1e-6))
            var above = wide, below = wide
            above[i] += 1e-5
            below[i] -= 1e-5
            let slope = zip(zip(unit(above), unit(below)), dy).reduce(0) {
                $0 + ($1.0.0 - $1.0.1) / 2e-5 * Double($1.1)
            }
            #expect(isClose(Double(dx[i]), slope, absolute: 1e-5, relative: 1e-4))
        }
    }

    @Test(arguments: [1, 17, 300]) func sigmoidGatesAndTheirBackwardHalf(_ n: Int) {
        var numbers = Numbers(n)
        let x = numbers.row(n, 3), gate = numbers.row(n, 9), dy = numbers.row(n)
        var y = x, dx = dy, dgate = gate
        crux_sigmoid_gate_forward(x, gate, &y, n)
        dx.withUnsafeMutableBufferPointer { dx in
            dgate.withUnsafeMutableBufferPointer { dgate in
                crux_sigmoid_gate_backward(
                    dx.baseAddress, x, dgate.baseAddress, dx.baseAddress, dgate.baseAddress, n)
            }
        }
        for i in 0..<n {
            let s = 1 / (1 + exp(-Double(gate[i]))), d = Double(dy[i])
            #expect(isClose(Double(y[i]), Double(x[i]) * s, absolute: 2e-6))
            #expect(isClose(Double(dx[i]), d * s, absolute: 2e-6))
            #expect(isClose(Double(dgate[i]), d * Double(x[i]) * s * (1 - s), absolute: 2e-6))
        }
    }
}
