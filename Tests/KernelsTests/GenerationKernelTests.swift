import CKernels
import Foundation
import TestSupport
import Testing

/// The kernels of generation against sums in double, and against themselves: a row's bytes may not depend on its
/// neighbours.
@Suite(.serialized) struct GenerationKernelTests {
    private func onEverySet(_ body: () -> Void) {
        for set in (0...crux_best_instruction_set().rawValue) {
            crux_set_instruction_set(crux_instruction_set(rawValue: set))
            body()
        }
        crux_set_instruction_set(crux_best_instruction_set())
    }

    private func numbers(_ count: Int, seed: UInt64) -> [Float] {
        var generator = SplitMix(seed: seed)
        return (0..<count).map { _ in Float(Double(generator.next() >> 11) / Double(1 << 53) * 2 - 1) }
    }

    private func product(_ x: [Float], rows: Int, stride: Int, _ w: [Float], outputs: Int, inputs: Int) -> [Float] {
        var y = [Float](repeating: .nan, count: rows * (outputs + 1)),
            packed = [Float](repeating: .nan, count: crux_packed_count(outputs, inputs))
        crux_pack(w, outputs, inputs, &packed)
        crux_packed_rows(x, rows, stride, packed, outputs, inputs, &y, outputs + 1)
        return y
    }

    @Test func everyShapeOfProductIsTheSumOfProducts() {
        onEverySet {
            for (rows, outputs, inputs) in [
                (1, 1, 1), (1, 7, 16), (3, 5, 17), (8, 32, 64), (9, 33, 33), (17, 65, 896), (33, 6, 31), (4, 40, 5),
                (5, 31, 7), (6, 2, 9), (15, 64, 3),
            ] {
                let stride = inputs + 3, x = numbers(rows * stride, seed: 1), w = numbers(outputs * inputs, seed: 2)
                let y = product(x, rows: rows, stride: stride, w, outputs: outputs, inputs: inputs)
                for r in 0..<rows {
                    for o in 0..<outputs {
                        let exact = (0..<inputs).reduce(0.0) {
                            $0 + Double(x[r * stride + $1]) * Double(w[o * inputs + $1])
                        }
                        #expect(
                            isClose(
                                Double(y[r * (outputs + 1) + o]), exact, absolute: 2e-6 * Double(inputs).squareRoot()))
                    }
                    #expect(y[r * (outputs + 1) + outputs].isNaN, "wrote beyond the row")
                }
            }
        }
    }

    @Test func aRowHasTheSameBytesAloneAndInCompany() {
        onEverySet {
            let (rows, outputs, inputs) = (37, 11, 100), x = numbers(rows * inputs, seed: 3),
                w = numbers(outputs * inputs, seed: 4)
            let whole = product(x, rows: rows, stride: inputs, w, outputs: outputs, inputs: inputs)
            for r in 0..<rows {
                let alone = product(
                    Array(x[r * inputs..<(r + 1) * inputs]), rows: 1, stride: inputs, w, outputs: outputs,
                    inputs: inputs)
                #expect(Array(whole[r * (outputs + 1)..<r * (outputs + 1) + outputs]) == Array(alone[..<outputs]))
            }
        }
    }

    @Test func attentionScoresAndMixesInAnyPieces() {
        onEverySet {
            for width in [4, 16, 20, 64, 80, 128] {
                let count = 50, stride = width + 5, keys = numbers(count * stride, seed: 5),
                    q = numbers(width, seed: 6), p = numbers(count, seed: 7)
                var scores = [Float](repeating: 0, count: count), mixed = [Float](repeating: 0, count: width),
                    pieces = mixed
                crux_attention_scores(q, keys, stride, count, width, &scores)
                crux_attention_mix(p, keys, stride, count, width, &mixed)
                for t in 0..<count {
                    let exact = (0..<width).reduce(0.0) { $0 + Double(q[$1]) * Double(keys[t * stride + $1]) }
                    #expect(isClose(Double(scores[t]), exact, absolute: 1e-5))
                }
                for i in 0..<width {
                    let exact = (0..<count).reduce(0.0) { $0 + Double(p[$1]) * Double(keys[$1 * stride + i]) }
                    #expect(isClose(Double(mixed[i]), exact, absolute: 1e-5))
                }
                // A path of several blocks adds up in the same order.
                for (start, length) in [(0, 7), (7, 30), (37, 13)] {
                    keys.withUnsafeBufferPointer { keys in
                        p.withUnsafeBufferPointer { p in
                            crux_attention_mix(
                                p.baseAddress! + start, keys.baseAddress! + start * stride, stride, length, width,
                                &pieces)
                        }
                    }
                }
                #expect(pieces == mixed)
            }
        }
    }

    @Test func samplingWalksTheCumulativeDistribution() {
        onEverySet {
            for count in [5, 1024, 3000] {
                let logits = numbers(count, seed: 9).map { 6 * $0 }, inverse: Float = 1.25
                var logprob: Float = 0, entropy: Float = 0, lse: Float = 0
                crux_log_softmax_stats(logits, count, inverse, 0, &logprob, &entropy, &lse)
                var below = 0.0, cumulative: [Double] = []
                for z in logits {
                    below += exp(Double(z * inverse) - Double(lse))
                    cumulative.append(below)
                }
                for k in 0..<400 {
                    let u = (Double(k) + 0.5) / 400, token = Int(crux_sample_row(logits, count, inverse, lse, u))
                    // Float probabilities: the border may lie a little off.
                    #expect(cumulative[token] > u - 1e-5 && (token == 0 || cumulative[token - 1] <= u + 1e-5))
                }
                #expect(crux_sample_row(logits, count, inverse, lse, 0.999_999_999) < Int32(count))
            }
            // An impossible token is never drawn, whatever rounding does.
            let masked: [Float] = [-.infinity, 0, -.infinity, 0, -.infinity]
            for u in [0, 0.25, 0.5, 0.75, 0.999_999_999_999] {
                #expect([1, 3].contains(crux_sample_row(masked, 5, 1, log(2), u)))
            }
        }
    }

    @Test func theFirstOfTheLargestWins() {
        #expect(crux_argmax([1, 3, 2, 3], 4) == 1)
        #expect(crux_argmax([-.infinity, -5], 2) == 1)
    }
}
