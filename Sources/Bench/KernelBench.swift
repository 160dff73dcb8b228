import CKernels
import Foundation
import Tensors

/// Entropy, log-sum-exp, log-probability and maximum of logits rows that no cache holds, as a share of the machine's
/// read bandwidth and beside what PyTorch and NumPy need for the entropy alone, turn by turn on the same rows.
struct KernelBench {
    let threads: Int
    /// A Python with torch; without one our own figures stand alone.
    let python: String?

    private static let vocabulary = 151_936
    private static let rows = 1024
    private static let rounds = 12
    private var elements: Double { Double(Self.rows * Self.vocabulary) }

    /// What baselines are called in bench/kernel.py, and how many times as long as ours they must take, at least and as a
    /// goal.
    private static let baselines: [(form: String, name: String, requirement: Requirement?)] = [
        ("eager", "PyTorch eager", Requirement(need: 25, goal: 40)),
        ("compiled", "PyTorch compiled", Requirement(need: 8, goal: 15)), ("numpy", "NumPy", nil),
    ]

    private struct Form {
        let name: String
        let dtype: crux_dtype
        let values: UnsafeRawPointer
        var low: UnsafePointer<UInt8>?
        var elementBytes: Int { dtype == CRUX_F32 ? 4 : low == nil ? 2 : 1 }
        var readBytes: Int { dtype == CRUX_F32 ? 4 : 2 }

        func row(_ index: Int) -> crux_logits {
            let start = index * KernelBench.vocabulary
            return crux_logits(
                values: values + start * elementBytes, low: low.map { $0 + start }, n: KernelBench.vocabulary,
                dtype: dtype)
        }
    }

    func run() throws {
        // On huge pages, as the probe of the machine's bandwidth reads them, and as NumPy lays its arrays.
        let storage = Buffer(uninitialized: Self.rows * Self.vocabulary / 2)
        SyntheticLogits(vocabulary: Self.vocabulary).rows(Self.rows).withUnsafeBytes {
            UnsafeMutableRawPointer(storage.pointer).copyMemory(from: $0.baseAddress!, byteCount: $0.count)
        }
        try withExtendedLifetime(storage) {
            let half = UnsafeRawBufferPointer(start: storage.pointer, count: 4 * storage.count)
            let rows = Form(name: "bf16", dtype: CRUX_BF16, values: half.baseAddress!)
            say(
                "kernel, \(Self.rows) rows of \(Self.vocabulary) bf16 logits (\(half.count >> 20) MiB), \(threads) threads:"
            )
            try compare(rows, half)
            benchForms(rows, half)
        }
    }

    private func compare(_ rows: Form, _ bytes: UnsafeRawBufferPointer) throws {
        let file = FileManager.default.temporaryDirectory.path + "/crux-bench-rows-\(getpid())"
        defer { unlink(file) }
        let baseline = try python.map { python in
            try Data(
                bytesNoCopy: UnsafeMutableRawPointer(mutating: bytes.baseAddress!), count: bytes.count,
                deallocator: .none
            ).write(to: URL(fileURLWithPath: file))
            return try Baseline(python: python, ["bench/kernel.py", file, "\(Self.vocabulary)", "\(threads)"])
        }
        let baselines = baseline == nil ? [] : Self.baselines
        var ours: [Double] = [], bandwidth: [Double] = [], theirs = [[Double]](repeating: [], count: baselines.count),
            entropies = theirs
        for _ in 0..<Self.rounds {
            bandwidth.append(MachineLimits.readBandwidth(threads))
            ours.append(time(rows))
            for (index, other) in baselines.enumerated() {
                let answer = try baseline?.ask(other.form) ?? []
                theirs[index].append(answer[0])
                entropies[index].append(answer[1])
            }
        }
        let best = ours.min() ?? 1, rate = 2 * elements / best
        say(
            "  crux: \(text(elements / best / 1e9)) G logits/s, \(text(rate / 1e9)) GB/s, \(text(100 * rate / (bandwidth.max() ?? 1))) % of "
                + "the \(text((bandwidth.max() ?? 1) / 1e9)) GB/s that the machine reads")
        let mean = meanEntropy(rows)
        for (index, other) in baselines.enumerated() {
            let time = theirs[index].min() ?? 0, verdict = other.requirement.map { " " + $0.verdict(time / best) } ?? ""
            say(
                "  \(other.name): \(text(elements / time / 1e9)) G logits/s, \(text(time / best)) times as long\(verdict); "
                    + String(format: "mean entropy %.6f, ours %.6f", entropies[index].last ?? 0, mean))
        }
    }

    private func time(_ form: Form, wanted: Int = 0, topK: Int = 0) -> Double {
        let compute = Compute(threads: threads), share = Self.rows / threads
        return seconds {
            compute.forEach(threads) { thread in
                var stats = crux_row_stats(), ids = [Int32](repeating: 0, count: topK),
                    logprobs = [Float](repeating: 0, count: topK)
                ids.withUnsafeMutableBufferPointer { ids in
                    logprobs.withUnsafeMutableBufferPointer { logprobs in
                        var top = crux_top_k(k: topK, count: 0, ids: ids.baseAddress, logprobs: logprobs.baseAddress)
                        withUnsafeMutablePointer(to: &top) { top in
                            for index in thread * share..<(thread + 1) * share {
                                var row = form.row(index)
                                crux_logit_row(&row, 1, Int32(index), UInt32(wanted), topK > 0 ? top : nil, &stats)
                            }
                        }
                    }
                }
            }
        }
    }

    private func meanEntropy(_ form: Form) -> Double {
        (0..<Self.rows).reduce(0) { sum, index in
            var row = form.row(index), stats = crux_row_stats()
            crux_logit_row(&row, 1, 0, 0, nil, &stats)
            return sum + stats.entropy
        } / Double(Self.rows)
    }

    /// Other forms of the same rows, other wants, other instruction sets.
    private func benchForms(_ rows: Form, _ bytes: UnsafeRawBufferPointer) {
        let count = Self.rows * Self.vocabulary, halves = bytes.bindMemory(to: UInt16.self).baseAddress!
        var wide = [Float](repeating: 0, count: count), float16 = [UInt16](repeating: 0, count: count)
        var high = [UInt8](repeating: 0, count: count), low = high
        crux_bf16_to_f32(halves, &wide, count)
        crux_f32_to_f16(wide, &float16, count)
        crux_split_bytes(halves, &high, &low, count)
        report("with the noise floor", rows, wanted: CRUX_NOISE)
        report("with the sum of squared probabilities", rows, wanted: CRUX_COLLISION)
        report("with the 20 most likely tokens", rows, topK: 20)
        high.withUnsafeBytes { high in
            low.withUnsafeBufferPointer {
                report(
                    "bytes apart", Form(name: "split", dtype: CRUX_BF16, values: high.baseAddress!, low: $0.baseAddress)
                )
            }
        }
        float16.withUnsafeBytes { report("f16", Form(name: "f16", dtype: CRUX_F16, values: $0.baseAddress!)) }
        wide.withUnsafeBytes { report("f32", Form(name: "f32", dtype: CRUX_F32, values: $0.baseAddress!)) }
        let best = crux_current_instruction_set()
        let others = [
            (CRUX_AVX512, "on AVX-512 in the compiler's order"), (CRUX_AVX2, "on AVX2"),
            (CRUX_PLAIN, "on the base instruction set"),
        ]
        for (set, name) in others where set.rawValue < best.rawValue {
            crux_set_instruction_set(set)
            report(name, rows)
        }
        crux_set_instruction_set(best)
    }

    private func report(_ name: String, _ form: Form, wanted: Int = 0, topK: Int = 0) {
        let best = (0..<3).map { _ in time(form, wanted: wanted, topK: topK) }.min() ?? 1,
            bytes = Double(form.readBytes) * elements
        say("  \(name): \(text(elements / best / 1e9)) G logits/s, \(text(bytes / best / 1e9)) GB/s")
    }
}
