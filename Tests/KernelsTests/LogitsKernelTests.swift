import CKernels
import Foundation
import TestSupport
import Testing

/// The kernel of logits rows against the slow one in double, in every form that a row may have, on every instruction
/// set that this machine has. Limits of the entropy's error: 5e-6, and 1e-6 where it is below 0.1.
@Suite(.serialized) struct LogitsKernelTests {
    enum Form: CaseIterable, CustomTestStringConvertible {
        case bf16, f16, f32, splitBF16, splitF16
        var dtype: crux_dtype { self == .f32 ? CRUX_F32 : self == .bf16 || self == .splitBF16 ? CRUX_BF16 : CRUX_F16 }
        var isSplit: Bool { self == .splitBF16 || self == .splitF16 }
        var testDescription: String { "\(self)" }
    }

    /// A row in one form, at a place that is aligned to nothing.
    private struct Row {
        let form: Form
        let n: Int
        private let bytes: [UInt8]
        private let low: [UInt8]

        init(_ values: [Float], _ form: Form) {
            (self.form, n) = (form, values.count)
            guard form != .f32 else {
                (bytes, low) = ([0, 0, 0, 0] + values.withUnsafeBytes { Array($0) }, [])
                return
            }
            var half = [UInt16](repeating: 0, count: n)
            if form.dtype == CRUX_BF16 { crux_f32_to_bf16(values, &half, n) } else { crux_f32_to_f16(values, &half, n) }
            (bytes, low) =
                form.isSplit
                ? ([0, 0, 0, 0] + half.map { UInt8($0 >> 8) }, half.map { UInt8(truncatingIfNeeded: $0) })
                : ([0, 0, 0, 0] + half.withUnsafeBytes { Array($0) }, [])
        }

        /// What the form has made of the values.
        var values: [Float] {
            let data = Array(bytes.dropFirst(4))
            guard form != .f32 else { return data.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) } }
            let half =
                form.isSplit
                ? zip(data, low).map { UInt16($0) << 8 | UInt16($1) }
                : data.withUnsafeBytes { Array($0.bindMemory(to: UInt16.self)) }
            var wide = [Float](repeating: 0, count: n)
            if form.dtype == CRUX_BF16 { crux_bf16_to_f32(half, &wide, n) } else { crux_f16_to_f32(half, &wide, n) }
            return wide
        }

        func withLogits<T>(_ body: (inout crux_logits) -> T) -> T {
            bytes.withUnsafeBytes { bytes in
                low.withUnsafeBufferPointer { low in
                    var row = crux_logits(
                        values: bytes.baseAddress! + 4, low: form.isSplit ? low.baseAddress : nil, n: n,
                        dtype: form.dtype)
                    return body(&row)
                }
            }
        }
    }

    struct TopK: Equatable {
        var ids: [Int32] = []
        var logprobs: [Float] = []
    }

    private typealias Kernel = (
        _ row: inout crux_logits, _ sampled: Int32, _ top: UnsafeMutablePointer<crux_top_k>?,
        _ stats: inout crux_row_stats
    ) -> Void

    private func fast(_ temperature: Float, wanted: UInt32 = UInt32(CRUX_NOISE | CRUX_COLLISION)) -> Kernel {
        { crux_logit_row(&$0, 1 / temperature, $1, wanted, $2, &$3) }
    }

    private func slow(_ temperature: Float) -> Kernel {
        { crux_logit_row_reference(&$0, 1 / temperature, $1, $2, &$3) }
    }

    private func run(_ kernel: Kernel, _ row: Row, sampled: Int, k: Int = 0) -> (crux_row_stats, TopK) {
        var stats = crux_row_stats(), ids = [Int32](repeating: -1, count: k),
            logprobs = [Float](repeating: 0, count: k), count = 0
        row.withLogits { logits in
            ids.withUnsafeMutableBufferPointer { ids in
                logprobs.withUnsafeMutableBufferPointer { logprobs in
                    var top = crux_top_k(k: k, count: 0, ids: ids.baseAddress, logprobs: logprobs.baseAddress)
                    if k > 0 {
                        kernel(&logits, Int32(sampled), &top, &stats)
                    } else {
                        kernel(&logits, Int32(sampled), nil, &stats)
                    }
                    count = top.count
                }
            }
        }
        return (stats, TopK(ids: Array(ids.prefix(count)), logprobs: Array(logprobs.prefix(count))))
    }

    private func onEverySet(_ body: () -> Void) {
        for set in 0...crux_best_instruction_set().rawValue {
            crux_set_instruction_set(crux_instruction_set(rawValue: set))
            body()
        }
        crux_set_instruction_set(crux_best_instruction_set())
    }

    private func normal(_ count: Int, scale: Double, seed: Int) -> [Float] {
        var generator = SplitMix(seed: UInt64(seed))
        func uniform() -> Double { (Double(generator.next() >> 11) + 0.5) / Double(1 << 53) }
        return (0..<count).map { _ in Float(scale * sqrt(-2 * log(uniform())) * cos(2 * .pi * uniform())) }
    }

    /// All that a row says, by the fast kernel on every instruction set, within the limits of what the slow one says.
    private func check(
        _ name: String, _ values: [Float], _ forms: [Form] = Form.allCases, temperatures: [Float] = [1, 0.6], k: Int = 5
    ) {
        for form in forms {
            let row = Row(values, form), sampled = values.count / 3
            for temperature in temperatures {
                let (expected, expectedTop) = run(slow(temperature), row, sampled: sampled, k: k)
                onEverySet {
                    let (stats, top) = run(fast(temperature), row, sampled: sampled, k: k)
                    compare(
                        stats, expected,
                        "\(name) \(form) temperature \(temperature) on set \(crux_current_instruction_set().rawValue)")
                    #expect(
                        top.ids == expectedTop.ids
                            && firstDifference(top.logprobs, expectedTop.logprobs, absolute: 5e-6, relative: 1e-6)
                                == nil,
                        "\(name)")
                }
            }
        }
    }

    private func compare(_ stats: crux_row_stats, _ expected: crux_row_stats, _ place: String) {
        #expect(stats.status == expected.status, "\(place)")
        guard expected.status == CRUX_ROW_OK else { return }
        #expect(
            isClose(stats.entropy, expected.entropy, absolute: expected.entropy < 0.1 ? 1e-6 : 5e-6),
            "\(place): \(stats.entropy), expected \(expected.entropy)")
        #expect(stats.maximum == expected.maximum, "\(place)")
        // 1 / T times log2 e is rounded to float32: a relative 3e-8 of how far a logit lies below the largest.
        #expect(
            isClose(stats.logprob, expected.logprob, absolute: 5e-6, relative: 1e-7),
            "\(place): \(stats.logprob), expected \(expected.logprob)")
        #expect(isClose(stats.log_sum_exp, expected.log_sum_exp, absolute: 5e-6), "\(place)")
        #expect(isClose(stats.sum_p_squared, expected.sum_p_squared, relative: 2e-6), "\(place)")
        // A bound, not a result: where one token has nearly all the mass, S is 1 up to float32's 6e-8, and that times
        // |z| u is in the noise.
        let rounding = 1e-9 + 2e-7 * expected.logprob_noise
        #expect(isClose(stats.entropy_noise, expected.entropy_noise, absolute: rounding, relative: 1e-2), "\(place)")
        #expect(isClose(stats.logprob_noise, expected.logprob_noise, absolute: 1e-9, relative: 1e-4), "\(place)")
    }

    // MARK: shapes

    @Test(arguments: [1, 2, 7, 15, 16, 17, 63, 64, 65, 127, 129, 255, 257, 1023, 1024, 1025, 2049, 4097, 6144, 20_481])
    func rowsOfAnyLength(_ n: Int) {
        check("\(n)", normal(n, scale: 2, seed: n))
        check("\(n) equal", normal(n, scale: 0, seed: n))
    }

    @Test(arguments: [0.01, 1, 3, 8]) func vocabulariesOfModels(_ scale: Double) {
        check("32,000", normal(32_000, scale: scale, seed: 1))
        check("151,936", normal(151_936, scale: scale, seed: 2))
    }

    /// The peak before everything else, at the very end, in the row's last odd elements, and rows that rise or fall all
    /// the way.
    @Test func theLargestMayStandAnywhere() {
        let rest = normal(5001, scale: 2, seed: 3), long = normal(20_001, scale: 2, seed: 5)
        for (rest, places) in [
            (rest, [0, 1, 1023, 1024, 2500, 4999, 5000]), (long, [2047, 2048, 9000, 18_431, 20_000]),
        ] {
            for (place, peak) in places.flatMap({ place in [8, 20, 60, 300].map { (place, $0 as Float) } }) {
                var row = rest
                row[place] = peak
                check("peak \(peak) at \(place)", row)
            }
        }
        check("below 0", long.map { $0 - 20 })
        check("rising", rest.sorted())
        check("falling", rest.sorted(by: >))
        check("rising by 1,000", (0..<20_000).map { Float($0) * 0.05 })
    }

    // MARK: entropies

    /// From ln V to 1e-6, over a normal and over an exactly flat rest. Equal terms all round alike, so float sums
    /// drift: the hardest rows.
    @Test(arguments: [2, 1025, 32_000, 151_936]) func entropiesOfEverySize(_ n: Int) {
        for peak in stride(from: 0, through: 30, by: n > 100_000 ? 3 : 1) as StrideThrough<Float> {
            for scale in [0, 1] {
                var row = normal(n, scale: Double(scale), seed: n)
                row[n / 3] = peak
                check(
                    "peak \(peak) of \(n)", row, n > 100_000 ? [.bf16, .f32] : Form.allCases, temperatures: [1], k: 2)
            }
        }
    }

    @Test func knownEntropiesComeOut() {
        onEverySet {
            for (temperature, entropy) in [(1, 0.947537), (0.5, 0.455429), (2, 1.245050)] as [(Float, Double)] {
                #expect(
                    isClose(
                        run(fast(temperature), Row([2, 1, 0, -1], .f32), sampled: 0).0.entropy, entropy, absolute: 1e-6)
                )
            }
            let flat = run(fast(1), Row([Float](repeating: 3, count: 151_936), .bf16), sampled: 5).0
            #expect(
                isClose(flat.entropy, log(151_936), absolute: 5e-6)
                    && isClose(flat.sum_p_squared, 1 / 151_936.0, relative: 1e-6))
            for gap in stride(from: 1, through: 18, by: 0.5) {
                let stats = run(fast(1), Row([0, Float(-gap)], .f32), sampled: 0).0, q = 1 / (1 + exp(gap))
                #expect(isClose(stats.entropy, -q * log(q) - (1 - q) * log1p(-q), absolute: 1e-6))
                #expect(isClose(stats.sum_p_squared, q * q + (1 - q) * (1 - q), relative: 1e-6))
            }
            #expect(
                isClose(run(fast(1), Row([2, 1, -.infinity], .f32), sampled: 0).0.entropy, 0.582203, absolute: 1e-6))
        }
    }

    /// What a logit is relative to the others is all that counts, up to where 16 bits hold no differences.
    @Test(arguments: [-30_000, -500, -30, 30, 500, 30_000]) func logitsFarFromZero(_ shift: Float) {
        check("\(shift)", normal(9000, scale: 3, seed: 5).map { $0 + shift })
        // Log-probabilities as some engines dump them: none above 0.
        let row = normal(9000, scale: 3, seed: 6), total = log(row.reduce(0.0) { $0 + exp(Double($1)) })
        check("log-probabilities", row.map { Float(Double($0) - total) })
    }

    /// Exponents that a float doesn't hold, in rows of whole vectors: where a row is filled up with -inf, they are met
    /// with care anyway.
    @Test(arguments: [85, 88, 89, 120, 170, 177, 178, 200, 1000, 60_000]) func logitsFarBelowTheLargest(_ gap: Float) {
        for place in [0, 100, 4000] {
            var row = normal(4096, scale: 2, seed: 7)
            row[place] = gap
            check("\(gap) at \(place)", row)
            check("\(gap) below 0 but at \(place)", row.map { $0 - gap })
        }
    }

    /// Beyond what float32 holds once it is multiplied.
    @Test func logitsAtTheEndOfFloat32() {
        check("3e38", [3.3e38, 3.3e38, -3.3e38, 0], [.f32])
        check("4e37", [3.3e38, 3.2e38, -3.3e38, 0].map { $0 / 8 }, [.f32])
    }

    // MARK: impossible tokens, bad rows

    @Test func impossibleTokensCountForNothing() {
        for chunk in [
            1...1, 0...0, 0...1023, 0...4999, 1000...3000, 2...5000, 12_000...12_000, 4096...8191, 20_000...20_000,
        ] as [ClosedRange<Int>] {
            var row = normal(chunk.upperBound > 5000 ? 20_001 : 5001, scale: 2, seed: 8)
            row.replaceSubrange(chunk, with: repeatElement(-.infinity, count: chunk.count))
            check("-inf at \(chunk)", row, k: 7)
        }
        var one = [Float](repeating: -.infinity, count: 3000)
        one[2999] = 30_000
        onEverySet {
            let (stats, top) = run(fast(1), Row(one, .f32), sampled: 2999, k: 3)
            // What is impossible counts as 2^-120.
            #expect(
                stats.status == CRUX_ROW_OK && stats.entropy < 1e-30 && stats.logprob == 0 && stats.sum_p_squared == 1)
            #expect(top == TopK(ids: [2999], logprobs: [0]))
            #expect(run(fast(1), Row(one, .bf16), sampled: 5).0.logprob == -.infinity)
        }
    }

    @Test(arguments: Form.allCases) func badRowsAreNamed(_ form: Form) {
        // A NaN with its sign set is smaller than -inf where numbers are compared by their bits.
        let bad = [(Float.nan, CRUX_ROW_NAN), (-Float.nan, CRUX_ROW_NAN), (.infinity, CRUX_ROW_POSITIVE_INFINITY)]
        for (value, status) in bad {
            for place in [0, 1023, 4321, 9000, 13_999] {
                for rest in [normal(14_000, scale: 1, seed: 4), [Float](repeating: -.infinity, count: 14_000)] {
                    var values = rest
                    values[place] = value
                    let row = Row(values, form)
                    onEverySet {
                        #expect(run(fast(1), row, sampled: 0, k: 2).0.status == status, "\(value) at \(place)")
                        #expect(row.withLogits { crux_scan_logits(&$0) } == status, "\(value) at \(place)")
                    }
                }
            }
        }
        for n in [1, 40, 3000] {
            let row = Row([Float](repeating: -.infinity, count: n), form),
                possible = Row([Float](repeating: -.infinity, count: n) + [1], form)
            onEverySet {
                #expect(run(fast(1), row, sampled: 0, k: 2).0.status == CRUX_ROW_EMPTY)
                #expect(
                    row.withLogits { crux_scan_logits(&$0) } == CRUX_ROW_EMPTY
                        && possible.withLogits { crux_scan_logits(&$0) } == CRUX_ROW_OK)
            }
        }
    }

    // MARK: top-k

    @Test(arguments: [1, 2, 20, 64, 700]) func topKIsThatOfASort(_ k: Int) {
        for (n, scale) in [(k, 1.0), (k + 1, 1), (5000, 2), (20_000, 3), (5000, 0.01), (3000, 0)] {
            for form in Form.allCases {
                let row = Row(normal(n, scale: scale, seed: k), form), rounded = row.values
                // Of equal ones the lower id first.
                let sorted = rounded.indices.sorted { (rounded[$0], $1) > (rounded[$1], $0) }.prefix(k)
                onEverySet {
                    #expect(
                        run(fast(0.7), row, sampled: 0, k: k).1.ids == sorted.map { Int32($0) },
                        "\(form), \(n) of scale \(scale)")
                }
            }
        }
    }

    /// What is not wanted is not computed, and changes nothing of the rest.
    @Test func whatIsWantedDoesNotChangeTheRest() {
        let row = Row(normal(20_000, scale: 2, seed: 12), .bf16)
        onEverySet {
            let all = run(fast(1), row, sampled: 3, k: 9).0
            for wanted in 0..<4 as Range<UInt32> {
                let some = run(fast(1, wanted: wanted), row, sampled: 3).0
                #expect(
                    some.entropy == all.entropy && some.logprob == all.logprob && some.log_sum_exp == all.log_sum_exp)
                if wanted & UInt32(CRUX_NOISE) != 0 { #expect(some.entropy_noise == all.entropy_noise) }
                if wanted & UInt32(CRUX_COLLISION) != 0 { #expect(some.sum_p_squared == all.sum_p_squared) }
            }
        }
    }
}
