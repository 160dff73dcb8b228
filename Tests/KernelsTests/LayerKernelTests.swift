import CKernels
import Foundation
import TestSupport
import Testing

/// Each kernel of a layer against the same sum in Double, one element at a time, at lengths around the vector widths.
@Suite struct LayerKernelTests {
    static let lengths = [1, 2, 15, 16, 17, 63, 128, 1023, 1025, 4099]

    private struct Numbers {
        var generator: SplitMix

        init(_ seed: Int) { generator = SplitMix(seed: UInt64(seed)) }

        mutating func row(_ count: Int, _ scale: Double = 2) -> [Float] {
            (0..<count).map { _ in Float(scale * (2 * Double(generator.next() >> 11) / Double(1 << 53) - 1)) }
        }
    }

    private func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }

    @Test(arguments: lengths) func rmsNormAndItsBackwardHalf(_ n: Int) {
        var numbers = Numbers(n)
        let x = numbers.row(n), weight = numbers.row(n), dy = numbers.row(n)
        var y = [Float](repeating: 0, count: n), dx = numbers.row(n), dweight = numbers.row(n)
        let (dx0, dweight0) = (dx, dweight)
        let rstd = crux_rmsnorm_forward(x, weight, &y, n, 1e-6)
        crux_rmsnorm_backward(dy, x, weight, rstd, &dx, &dweight, n)
        let mean = x.reduce(0.0) { $0 + Double($1) * Double($1) } / Double(n), r = 1 / sqrt(mean + 1e-6)
        let inner = (0..<n).reduce(0.0) { $0 + Double(dy[$1]) * Double(weight[$1]) * Double(x[$1]) } * r / Double(n)
        #expect(isClose(Double(rstd), r, absolute: 0, relative: 1e-6))
        for i in 0..<n {
            let normed = Double(x[i]) * r
            #expect(isClose(Double(y[i]), Double(weight[i]) * normed, absolute: 2e-6))
            #expect(
                isClose(
                    Double(dx[i] - dx0[i]), r * (Double(dy[i]) * Double(weight[i]) - normed * inner), absolute: 4e-6,
                    relative: 4e-6))
            #expect(isClose(Double(dweight[i] - dweight0[i]), Double(dy[i]) * normed, absolute: 4e-6))
        }
    }

    @Test(arguments: lengths) func swigluAndItsBackwardHalf(_ n: Int) {
        var numbers = Numbers(n + 1)
        let gate = numbers.row(n, 12), up = numbers.row(n), dy = numbers.row(n)
        var y = [Float](repeating: 0, count: n), dgate = y, dup = y
        crux_swiglu_forward(gate, up, &y, n)
        crux_swiglu_backward(dy, gate, up, &dgate, &dup, n)
        for i in 0..<n {
            let (g, u, d) = (Double(gate[i]), Double(up[i]), Double(dy[i])), s = sigmoid(g)
            #expect(isClose(Double(y[i]), g * s * u, absolute: 4e-6))
            #expect(isClose(Double(dgate[i]), d * u * s * (1 + g * (1 - s)), absolute: 8e-6))
            #expect(isClose(Double(dup[i]), d * g * s, absolute: 4e-6))
        }
    }

    @Test(arguments: lengths) func gegluAndItsBackwardHalf(_ n: Int) {
        var numbers = Numbers(n + 7)
        let gate = numbers.row(n, 6), up = numbers.row(n), dy = numbers.row(n)
        var y = [Float](repeating: 0, count: n), dgate = y, dup = y
        crux_geglu_forward(gate, up, &y, n)
        crux_geglu_backward(dy, gate, up, &dgate, &dup, n)
        let root = sqrt(2 / Double.pi)
        for i in 0..<n {
            let (g, u, d) = (Double(gate[i]), Double(up[i]), Double(dy[i]))
            let t = tanh(root * (g + 0.044715 * g * g * g)), gelu = 0.5 * g * (1 + t)
            let slope = 0.5 * (1 + t) + 0.5 * g * (1 - t * t) * root * (1 + 3 * 0.044715 * g * g)
            #expect(isClose(Double(y[i]), gelu * u, absolute: 4e-6))
            #expect(isClose(Double(dgate[i]), d * u * slope, absolute: 8e-6))
            #expect(isClose(Double(dup[i]), d * gelu, absolute: 4e-6))
        }
    }

    @Test(arguments: lengths) func softCapsAndTheirBackwardHalves(_ n: Int) {
        var numbers = Numbers(n + 8)
        let x = numbers.row(n, 9), d0 = numbers.row(n)
        var y = x, d = d0, scores = x, dp = d0
        crux_cap(&y, n, 0.5, 2)
        crux_cap_backward(y, &d, n, 0.5, 2)
        let z = x.map { 2 * tanh(0.5 * Double($0) / 2) }, slopes = z.map { 0.5 * (1 - pow($0 / 2, 2)) }
        let lse = log(z.reduce(0) { $0 + exp($1) }), p = z.map { exp($0 - lse) }
        let delta = zip(p, d0).reduce(0) { $0 + $1.0 * Double($1.1) }
        crux_capped_softmax_backward(&scores, &dp, n, 0.5, 2, Float(lse), Float(delta))
        for i in 0..<n {
            #expect(isClose(Double(y[i]), z[i], absolute: 5e-7, relative: 5e-7))
            #expect(isClose(Double(d[i]), slopes[i] * Double(d0[i]), absolute: 1e-6))
            #expect(isClose(Double(scores[i]), p[i], absolute: 1e-6))
            #expect(isClose(Double(dp[i]), slopes[i] * p[i] * (Double(d0[i]) - delta), absolute: 1e-6))
        }
    }

    @Test(arguments: lengths) func softmaxAndItsBackwardHalf(_ n: Int) {
        var numbers = Numbers(n + 2)
        let scores = numbers.row(n, 30), dp0 = numbers.row(n)
        var p = scores, again = scores, dp = dp0
        let lse = crux_softmax_row(&p, n, 0.25)
        crux_softmax_row_from_lse(&again, n, 0.25, lse)
        let top = Double(scores.max()!) * 0.25, sum = scores.reduce(0.0) { $0 + exp(Double($1) * 0.25 - top) }
        #expect(isClose(Double(lse), top + log(sum), absolute: 2e-6))
        let delta = Float(zip(p, dp0).reduce(0.0) { $0 + Double($1.0) * Double($1.1) })
        crux_softmax_row_backward(p, &dp, n, 0.25, delta)
        for i in 0..<n {
            let expected = exp(Double(scores[i]) * 0.25 - top) / sum
            #expect(
                isClose(Double(p[i]), expected, absolute: 1e-6) && isClose(Double(again[i]), expected, absolute: 2e-6))
            #expect(isClose(Double(dp[i]), 0.25 * expected * (Double(dp0[i]) - Double(delta)), absolute: 2e-6))
        }
    }

    @Test(arguments: lengths) func dotAndAdd(_ n: Int) {
        var numbers = Numbers(n + 3)
        let a = numbers.row(n), b = numbers.row(n)
        var y = b
        crux_add(&y, a, n)
        #expect(zip(y, zip(a, b)).allSatisfy { $0 == $1.0 + $1.1 })
        #expect(
            isClose(
                Double(crux_dot(a, b, n)), zip(a, b).reduce(0.0) { $0 + Double($1.0) * Double($1.1) },
                absolute: 2e-6 * Double(n).squareRoot() + 1e-6))
    }
}
