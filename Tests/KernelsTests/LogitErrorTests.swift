import CKernels
import Foundation
import TestSupport
import Testing

/// What storing logits in few bits is expected to move: the fast kernel against the slow one, and both against what
/// really moves.
@Suite(.serialized) struct LogitErrorTests {
    /// A row's numbers as a type stores them, whole or with their bytes apart.
    private struct Stored {
        let dtype: crux_dtype
        let high: [UInt8]
        let low: [UInt8]
        let n: Int

        init(_ values: [Float], _ dtype: crux_dtype, isSplit: Bool = false) {
            (self.dtype, n) = (dtype, values.count)
            guard dtype != CRUX_F32 else {
                (high, low) = (values.withUnsafeBytes { Array($0) }, [])
                return
            }
            let halves = LogitErrorTests.rounded(values, dtype)
            high = isSplit ? halves.map { UInt8($0 >> 8) } : halves.withUnsafeBytes { Array($0) }
            low = isSplit ? halves.map { UInt8(truncatingIfNeeded: $0) } : []
        }

        private func with<T>(_ body: (inout crux_logits) -> T) -> T {
            high.withUnsafeBytes { high in
                low.withUnsafeBufferPointer { low in
                    var row = crux_logits(
                        values: high.baseAddress, low: low.isEmpty ? nil : low.baseAddress, n: n, dtype: dtype)
                    return body(&row)
                }
            }
        }

        func stats(_ temperature: Float, sampled: Int) -> crux_row_stats {
            with {
                var stats = crux_row_stats()
                crux_logit_row(&$0, 1 / temperature, Int32(sampled), 0, nil, &stats)
                return stats
            }
        }

        func error(_ temperature: Float, sampled: Int) -> crux_row_error {
            var stats = stats(temperature, sampled: sampled)
            return with { crux_logit_row_error(&$0, 1 / temperature, Int32(sampled), &stats) }
        }

        func slow(_ temperature: Float, sampled: Int) -> crux_row_error {
            with { crux_logit_row_error_reference(&$0, 1 / temperature, Int32(sampled)) }
        }
    }

    private static func rounded(_ values: [Float], _ dtype: crux_dtype) -> [UInt16] {
        var halves = [UInt16](repeating: 0, count: values.count)
        if dtype == CRUX_BF16 {
            crux_f32_to_bf16(values, &halves, values.count)
        } else {
            crux_f32_to_f16(values, &halves, values.count)
        }
        return halves
    }

    private static func widened(_ values: [Float], _ dtype: crux_dtype) -> [Float] {
        var wide = [Float](repeating: 0, count: values.count)
        let halves = rounded(values, dtype)
        if dtype == CRUX_BF16 {
            crux_bf16_to_f32(halves, &wide, values.count)
        } else {
            crux_f16_to_f32(halves, &wide, values.count)
        }
        return wide
    }

    private func normal(_ count: Int, scale: Double, seed: Int) -> [Float] {
        var generator = SplitMix(seed: UInt64(seed))
        func uniform() -> Double { (Double(generator.next() >> 11) + 0.5) / Double(1 << 53) }
        return (0..<count).map { _ in Float(scale * sqrt(-2 * log(uniform())) * cos(2 * .pi * uniform())) }
    }

    /// On every instruction set. The slow one sums in double: what float sums lose of a row's dominating terms is a
    /// thousandth at most, and of terms that cancel (a token with all the mass moves nothing) 1e-4 of its ulp.
    private func check(_ values: [Float], _ name: String) {
        let sampled = values.count / 3
        let forms = [
            Stored(values, CRUX_F32), Stored(values, CRUX_BF16), Stored(values, CRUX_F16),
            Stored(values, CRUX_BF16, isSplit: true),
        ]
        for (row, temperature) in zip(forms + [forms[1]], [1, 1, 0.6, 2, 0.25] as [Float]) {
            let expected = row.slow(temperature, sampled: sampled),
                ulp = crux_ulp_share(row.dtype) * 32 / Double(temperature)
            for set in 0...crux_best_instruction_set().rawValue {
                crux_set_instruction_set(crux_instruction_set(rawValue: set))
                let found = row.error(temperature, sampled: sampled),
                    place = "\(name), type \(row.dtype.rawValue) at \(temperature), set \(set)"
                #expect(
                    isClose(found.entropy, expected.entropy, absolute: 1e-4 * ulp, relative: 1e-3),
                    "\(place): \(found.entropy), \(expected.entropy)")
                #expect(
                    isClose(found.logprob, expected.logprob, absolute: 1e-4 * ulp, relative: 1e-3),
                    "\(place): \(found.logprob), \(expected.logprob)")
                #expect(found.dtype == expected.dtype, "\(place)")
            }
            crux_set_instruction_set(crux_best_instruction_set())
        }
    }

    @Test(arguments: [1, 2, 15, 16, 17, 511, 512, 513, 1025, 5000, 151_936]) func fastIsSlow(_ n: Int) {
        for scale in [0.01, 1, 4] { check(normal(n, scale: scale, seed: n), "\(n) of \(scale)") }
        var peaked = normal(n, scale: 2, seed: n)
        peaked[n / 3] = 25
        check(peaked, "\(n), sampled likely")
        peaked[0] = 30
        check(peaked, "\(n), another likely")
        if n > 16 { peaked.replaceSubrange(1..<9, with: repeatElement(-.infinity, count: 8)) }
        check(peaked, "\(n), some impossible")
    }

    /// Rows like a model's, rounded: what entropy and log-probability really moved by, root mean square over 400 rows,
    /// is what was foretold. 400 errors of one size have a root mean square within 4 % of it, errors of many sizes
    /// within some 8 %.
    @Test(arguments: [CRUX_BF16.rawValue, CRUX_F16.rawValue], [1, 0.7] as [Float]) func whatIsForetoldComes(
        _ type: UInt32, _ temperature: Float
    ) {
        let dtype = crux_dtype(rawValue: type)
        var told = (entropy: 0.0, logprob: 0.0), came = told
        for seed in 0..<400 {
            var values = normal(2000, scale: 2 + Double(seed % 5) / 2, seed: seed)
            for index in values.indices { values[index] += 6 + Float(seed % 11) }
            let exact = Stored(values, CRUX_F32).stats(temperature, sampled: 7), stored = Stored(values, dtype),
                stats = stored.stats(temperature, sampled: 7)
            let error = stored.error(temperature, sampled: 7)
            told = (told.entropy + error.entropy * error.entropy, told.logprob + error.logprob * error.logprob)
            came = (
                came.entropy + pow(stats.entropy - exact.entropy, 2),
                came.logprob + pow(stats.logprob - exact.logprob, 2)
            )
        }
        #expect(isClose((told.entropy / came.entropy).squareRoot(), 1, absolute: 0.15), "\(told), \(came)")
        #expect(isClose((told.logprob / came.logprob).squareRoot(), 1, absolute: 0.15), "\(told), \(came)")
    }

    /// Rounded to 16 bits before they were stored in more: that is what has moved them.
    @Test func earlierRoundingShows() {
        let values = normal(3000, scale: 3, seed: 9)
        for (dtype, stored) in [(CRUX_BF16, CRUX_F32), (CRUX_F16, CRUX_F32), (CRUX_BF16, CRUX_F16)] {
            let twice = Stored(Self.widened(values, dtype), stored).error(1, sampled: 5),
                once = Stored(values, dtype).error(1, sampled: 5)
            #expect(twice.dtype == dtype && isClose(twice.logprob, once.logprob, relative: 1e-3), "\(twice), \(once)")
        }
        #expect(
            Stored(values, CRUX_F32).error(1, sampled: 5).dtype == CRUX_F32
                && Stored(values, CRUX_F16).error(1, sampled: 5).dtype == CRUX_F16)
    }
}
