import CKernels
import Foundation
import TestSupport
import Testing

/// Fast kernels against slow ones, on every instruction set that this machine has.
@Suite(.serialized) struct KernelTests {
    private static let sets = (0...crux_best_instruction_set().rawValue).map { $0 }

    private func onEverySet(_ body: () -> Void) {
        for set in Self.sets {
            crux_set_instruction_set(crux_instruction_set(rawValue: set))
            body()
        }
        crux_set_instruction_set(crux_best_instruction_set())
    }

    private func normal(_ count: Int, scale: Double, seed: UInt64) -> [Float] {
        var generator = SplitMix(seed: seed)
        func uniform() -> Double { (Double(generator.next() >> 11) + 0.5) / Double(1 << 53) }
        return (0..<count).map { _ in Float(scale * sqrt(-2 * log(uniform())) * cos(2 * .pi * uniform())) }
    }

    /// Cells of the number line against a count value by value: any number of edges, edges that are values, any length.
    @Test(arguments: [0, 1, 2, 5, 8, 32]) func cellsAreCountedAndKept(_ count: Int) {
        let edges = (normal(count, scale: 1, seed: 3) + (count > 2 ? [0, -0.5] : [])).prefix(count).sorted(),
            turns = UInt32(truncatingIfNeeded: 0xb5a9_6c3d)
        for length in [0, 1, 15, 16, 17, 63, 64, 65, 255, 256, 257, 1000] {
            var values = normal(length, scale: 1, seed: UInt64(length))
            for index in stride(from: 0, to: length, by: 7) where count > 0 {
                values[index] = index % 2 == 0 ? edges[index % count] : -0.0
            }
            let kept = values.filter { value in
                edges.indices.count { turns >> UInt32($0) & 1 == 1 && value >= edges[$0] } % 2 == 1
            }
            onEverySet { countCells(values, edges, turns, kept) }
        }
    }

    private func countCells(_ values: [Float], _ edges: [Float], _ turns: UInt32, _ kept: [Float]) {
        var cells = crux_cells(), gathered = [Float](repeating: .nan, count: values.count + 16)
        crux_begin_cells(&cells, edges, edges.count, turns)
        let first = crux_count_cells(values, values.count, &cells, &gathered)
        #expect(first == kept.count && Array(gathered[..<first]) == kept)
        _ = crux_count_cells(values, values.count, &cells, &gathered)
        for (index, edge) in edges.enumerated() {
            #expect(Int(crux_cells_at_least(&cells, index)) == 2 * values.count { $0 >= edge })
        }
        #expect(cells.saw_odd == 0)
    }

    @Test(arguments: [Float.nan, .infinity, -.infinity, Float(bitPattern: 0xff80_0001)])
    func cellsTellOfValuesThatAreNoNumbers(_ odd: Float) {
        onEverySet {
            for place in [0, 15, 63, 64, 99] {
                var values = normal(100, scale: 1, seed: 1), cells = crux_cells(),
                    gathered = [Float](repeating: 0, count: 116)
                values[place] = odd
                crux_begin_cells(&cells, [0, 1], 2, 3)
                _ = crux_count_cells(values, 100, &cells, &gathered)
                #expect(cells.saw_odd != 0)
            }
        }
    }

    @Test func everyHalfPrecisionNumberConvertsExactlyAndBack() {
        let all = (0...UInt16.max).map { $0 }
        onEverySet {
            var wide = [Float](repeating: 0, count: all.count), back = [UInt16](repeating: 0, count: all.count)
            crux_f16_to_f32(all, &wide, all.count)
            crux_f32_to_f16(wide, &back, all.count)
            #expect(
                zip(all, wide).allSatisfy { $1.isNaN ? $0 & 0x7fff > 0x7c00 : $1 == Float(Float16(bitPattern: $0)) })
            #expect(zip(zip(all, back), wide).allSatisfy { $1.isNaN || $0.0 == $0.1 })
            crux_bf16_to_f32(all, &wide, all.count)
            crux_f32_to_bf16(wide, &back, all.count)
            #expect(zip(zip(all, back), wide).allSatisfy { $1.isNaN || $0.0 == $0.1 })
        }
    }

    @Test func roundingTo16BitsIsToNearestEven() {
        onEverySet {
            var half = [UInt16](repeating: 0, count: 3)
            crux_f32_to_bf16(
                [Float(bitPattern: 0x3f80_8000), Float(bitPattern: 0x3f81_8000), Float(bitPattern: 0x3f80_8001)], &half,
                3)
            #expect(half == [0x3f80, 0x3f82, 0x3f81])
        }
    }

    @Test(arguments: [1, 5, 64, 897, 4864]) func normAndGateBackwardMatchTheirFormulas(_ n: Int) {
        onEverySet {
            checkNorm(n)
            checkGate(n)
        }
    }

    private func checkNorm(_ n: Int) {
        let x = normal(n, scale: 1, seed: 1), w = normal(n, scale: 1, seed: 2), d = normal(n, scale: 1, seed: 3)
        var y = [Float](repeating: 0, count: n), dx = y, dw = y
        let inverse = Double(crux_rmsnorm_forward(x, w, &y, n, 1e-6))
        crux_rmsnorm_backward(d, x, w, Float(inverse), &dx, &dw, n)
        let scaled = zip(d, w).map { Double($0) * Double($1) }, normed = x.map { Double($0) * inverse }
        let mean = zip(scaled, normed).reduce(0.0) { $0 + $1.0 * $1.1 } / Double(n)
        let expected = zip(scaled, normed).map { inverse * ($0 - $1 * mean) }
        #expect(firstDifference(dx.map { Double($0) }, expected, absolute: 2e-5) == nil)
        #expect(firstDifference(dw.map { Double($0) }, zip(d, normed).map { Double($0) * $1 }, absolute: 1e-5) == nil)
    }

    private func checkGate(_ n: Int) {
        let gate = normal(n, scale: 3, seed: 1), up = normal(n, scale: 1, seed: 2), d = normal(n, scale: 1, seed: 3)
        var dgate = [Float](repeating: 0, count: n), dup = dgate
        crux_swiglu_backward(d, gate, up, &dgate, &dup, n)
        for i in 0..<n {
            let g = Double(gate[i]), s = 1 / (1 + exp(-g)), dy = Double(d[i])
            #expect(isClose(Double(dgate[i]), dy * Double(up[i]) * s * (1 + g * (1 - s)), absolute: 1e-5))
            #expect(isClose(Double(dup[i]), dy * g * s, absolute: 1e-5))
        }
    }

    @Test(arguments: [1, 3, 130, 2049]) func softmaxForwardAndBackwardMatch(_ n: Int) {
        onEverySet {
            let scores = normal(n, scale: 4, seed: 6), scale: Float = 0.3
            var p = scores
            let lse = crux_softmax_row(&p, n, scale)
            let total = scores.reduce(0.0) { $0 + exp(Double($1) * Double(scale)) }
            #expect(isClose(Double(lse), log(total), absolute: 1e-5))
            #expect(
                firstDifference(
                    p.map { Double($0) }, scores.map { exp(Double($0) * Double(scale)) / total }, absolute: 1e-6) == nil
            )
            var again = scores
            crux_softmax_row_from_lse(&again, n, scale, lse)
            #expect(firstDifference(again, p, absolute: 1e-6) == nil)
        }
    }

    /// c b = .01 / 3 taken off the loss, at temperatures 1 and 2.
    @Test func theEntropysDerivativeIsTheWorkedNumbers() {
        let cases: [([Float], Float, Double, [Double])] = [
            ([2, 1, 0, -1], 1, 0.947537, [1.088960, -0.389003, -0.433587, -0.266370]),
            ([0, 0, 0, 0], 1, 1.386294, [0, 0, 0, 0]),
            ([3, 0, 0, -2], 1, 0.401501, [0.905316, -0.404954, -0.404954, -0.095408]),
            ([2, 1, 0, -1], 2, 1.245050, [0.347139, -0.019453, -0.151303, -0.176384]),
        ]
        onEverySet {
            for (logits, temperature, expected, slopes) in cases {
                var z = logits, logprob: Float = 0, entropy: Float = 0, lse: Float = 0
                crux_log_softmax_stats(z, 4, 1 / temperature, 0, &logprob, &entropy, &lse)
                crux_head_backward_row_with_entropy(&z, 4, 1 / temperature, lse, 0, 0, entropy, -0.01 / 3)
                #expect(isClose(Double(entropy), expected, absolute: 1e-6))
                #expect(firstDifference(z.map { 1000 * Double($0) }, slopes, absolute: 2e-6) == nil, "\(z)")
            }
        }
    }

    /// Beside the log-probability's derivative, over a vocabulary with impossible tokens; against the formula in double.
    @Test(arguments: [3, 1000, 5001]) func theEntropysDerivativeIsTheSlowOne(_ n: Int) {
        var generator = SplitMix(seed: UInt64(n))
        let logits = (0..<n).map { index -> Float in
            index % 97 == 5 ? -.infinity : 8 * (Float(generator.next() >> 40) / Float(1 << 24) - 0.5)
        }
        let inverse = 1.25, (output, spread) = (0.7, -0.3), largest = Double(logits.max() ?? 0) * inverse
        let total = logits.reduce(0.0) { $0 + exp(Double($1) * inverse - largest) }
        let logs = logits.map { Double($0) * inverse - largest - log(total) },
            entropy = logs.reduce(0.0) { $1 == -.infinity ? $0 : $0 - exp($1) * $1 }
        let slow = logs.enumerated().map { index, lp -> Double in
            guard lp > -.infinity else { return 0 }
            return output * ((index == 1 ? 1 : 0) - exp(lp)) * inverse - spread * exp(lp) * (lp + entropy) * inverse
        }
        onEverySet {
            var z = logits, logprob: Float = 0, found: Float = 0, lse: Float = 0
            crux_log_softmax_stats(z, n, Float(inverse), 1, &logprob, &found, &lse)
            crux_head_backward_row_with_entropy(
                &z, n, Float(inverse), lse, 1, Float(output), found, Float(spread))
            #expect(firstDifference(z.map { Double($0) }, slow, absolute: 2e-6) == nil)
            // It moves nothing but the distribution's shape.
            #expect(abs(z.reduce(0.0) { $0 + Double($1) }) < 1e-4)
        }
    }

    @Test func theHeadsDerivativeIsTheWorkedFormulaAlsoWhereTheTokenIsNearlyCertain() {
        onEverySet {
            var z: [Float] = [20, 0, -1, -.infinity], logprob: Float = 0, entropy: Float = 0, lse: Float = 0
            crux_log_softmax_stats(z, 4, 2, 0, &logprob, &entropy, &lse)
            crux_head_backward_row(&z, 4, 2, lse, 0, 3)
            let q = exp(-40.0) + exp(-42.0)
            #expect(isClose(Double(logprob), -q, absolute: 1e-12))
            #expect(isClose(Double(z[1]), -6 * exp(-40), absolute: 0, relative: 1e-4))
            #expect(z[3] == 0)
        }
    }
}
