import Arrow
import CKernels
import Formats
import Foundation
import TestSupport
import Testing

/// What score says of how exact stored logits are, and whether it tells rounding from another policy.
@Suite struct StoredLogitsTests {
    private static let vocabulary = 400

    enum Form: CaseIterable, Sendable {
        case f32, bf16, f16, splitBF16, splitF16
        /// bfloat16 numbers that somebody widened before he stored them.
        case widened
        var dtype: DType {
            self == .f32 || self == .widened ? .f32 : self == .bf16 || self == .splitBF16 ? .bf16 : .f16
        }
        var isSplit: Bool { self == .splitBF16 || self == .splitF16 }
    }

    /// How a sampler writes its log-probabilities down.
    enum Writing: CaseIterable, Sendable { case float32, bfloat16, fourDecimals }

    private func normal(_ generator: inout SplitMix) -> Float {
        func uniform() -> Double { (Double(generator.next() >> 11) + 0.5) / Double(1 << 53) }
        return Float(sqrt(-2 * log(uniform())) * cos(2 * .pi * uniform()))
    }

    private func logprobs(_ logits: [Float], temperature: Float) -> [Double] {
        let z = logits.map { Double($0) / Double(temperature) }, top = z.max() ?? 0,
            total = top + log(z.reduce(0) { $0 + exp($1 - top) })
        return z.map { $0 - total }
    }

    private func draw(_ logprobs: [Double], _ generator: inout SplitMix) -> Int {
        var left = Double(generator.next() >> 11) / Double(1 << 53)
        return logprobs.firstIndex {
            left -= exp($0)
            return left < 0
        } ?? logprobs.count - 1
    }

    private func rounded(_ value: Double, _ writing: Writing) -> Float {
        switch writing {
        case .float32: Float(value)
        case .bfloat16: Float(bitPattern: (Float(value).bitPattern &+ 0x8000) & 0xffff_0000)
        case .fourDecimals: Float((value * 1e4).rounded() / 1e4)
        }
    }

    /// Rollouts of a policy with logits of a model's size, sampled by it; its logits are stored in `form`. `drift`: how
    /// far the logits that were stored are from those that it sampled by (0: an honest dump).
    private func dump(
        _ form: Form, rollouts: Int = 12, tokens: Int = 40, temperature: Float = 1, writing: Writing = .float32,
        drift: Float = 0, seed: UInt64 = 1
    ) throws -> [[UInt8]] {
        var generator = SplitMix(seed: seed)
        return try (0..<rollouts).map { index in
            var rollout = TinyRollout(id: "r-\(index)", group: "g-\(index / 4)", prompt: 2, completion: tokens)
            var values: [Float] = []
            rollout.frame.metadata["temperature"] = "\(temperature)"
            rollout.frame.metadata["reward"] = "\(index % 2)"
            for t in 0..<tokens {
                // Centred anywhere from 0 to 24, as real ones are; few tokens likely.
                let center = Float(generator.next() % 25), spread = 1 + Float(generator.next() % 4)
                let logits = (0..<Self.vocabulary).map { _ in center + spread * normal(&generator) }
                let logprobs = logprobs(logits, temperature: temperature), token = draw(logprobs, &generator)
                rollout.frame.tokenIDs[2 + t] = Int32(token)
                rollout.frame.rolloutLogprobs?[2 + t] = min(0, rounded(logprobs[token], writing))
                values += logits.map { $0 + drift * normal(&generator) }
            }
            rollout.frame.logits = LogitsInfo(
                dtype: form.dtype, rows: tokens, vocabulary: Self.vocabulary, isSplit: form.isSplit)
            return try RolloutShardWriter.blob(rollout.frame, logits: stored(values, form))
        }
    }

    private func stored(_ values: [Float], _ form: Form) -> [UInt8] {
        var halves = [UInt16](repeating: 0, count: values.count)
        switch form {
        case .f32: return values.withUnsafeBytes { Array($0) }
        case .f16, .splitF16: crux_f32_to_f16(values, &halves, values.count)
        case .bf16, .splitBF16, .widened: crux_f32_to_bf16(values, &halves, values.count)
        }
        guard form == .widened else { return halves.withUnsafeBytes { Array($0) } }
        return halves.map { Float(bitPattern: UInt32($0) << 16) }.withUnsafeBytes { Array($0) }
    }

    private struct Scored {
        let rows: [ScoreRow]
        let report: [String: Any]
        let errors: String
        let measures: [String: Double]

        func number(_ key: String) -> Double { report[key] as? Double ?? .nan }
        var warns: Bool { errors.contains("differ by") }
    }

    private func score(_ blobs: [[UInt8]], _ more: [String] = []) throws -> Scored {
        let run = try Pipeline()
        try writeShard(blobs: blobs, to: try run.folder.folder("dump") + "/a.rollouts.zst")
        try run.ingest([run.folder("dump")], to: "ingest")
        let result = try Executable("crux-score").run(
            ["--reward", "given", "--input", run.folder("ingest"), "--output", run.folder("score")] + more)
        try #require(result.status == 0, "\(result.errors)")
        let manifest =
            try JSONSerialization.jsonObject(
                with: Data(contentsOf: URL(fileURLWithPath: run.folder("score/manifest.json")))) as? [String: Any]
        return Scored(
            rows: try ArrowTableReader(path: run.folder("score/scores-00000.arrow"), table: Tables.scores).rows(),
            report: try #require(result.summary["report"] as? [String: Any]), errors: result.errors,
            measures: manifest?["measures"] as? [String: Double] ?? [:])
    }

    /// Root mean square of what differs between two scorings of the same rollouts.
    private func difference(_ a: Scored, _ b: Scored, _ column: (ScoreRow) -> [Float]?) throws -> Double {
        var squares = 0.0, count = 0
        for (x, y) in zip(a.rows, b.rows) {
            for (p, q) in zip(try #require(column(x)), try #require(column(y))).dropFirst(2) {
                (squares, count) = (squares + pow(Double(p) - Double(q), 2), count + 1)
            }
        }
        return (squares / Double(max(1, count))).squareRoot()
    }

    /// The expected error that is printed is the one that is there, within a fifth, also where most rows are not looked
    /// at.
    @Test(arguments: [Form.bf16, .f16, .splitBF16, .splitF16, .widened], [1, 0.7] as [Float])
    func theExpectedErrorIsTheMeasuredOne(
        _ form: Form, _ temperature: Float
    ) throws {
        let exact = try score(try dump(.f32, tokens: 90, temperature: temperature)),
            stored = try score(try dump(form, tokens: 90, temperature: temperature))
        let entropy = try difference(exact, stored) { $0.entropy }
        #expect(
            abs(stored.number("entropy_error_expected") / entropy - 1) < 0.2,
            "\(form): \(stored.report), measured \(entropy)")
        // The sampler's are exact, so the difference to them is the logits' error.
        let expected = stored.number("logprob_error_expected"), measured = stored.number("logits_sampler_rms")
        #expect(
            abs(expected / measured - 1) < 0.2 && abs(stored.number("logits_sampler_expected") / expected - 1) < 1e-6,
            "\(form): \(expected), measured \(measured)")
        #expect(
            stored.measures["entropy_error_expected"] == stored.number("entropy_error_expected")
                && stored.measures["logprob_error_expected"] == expected)
        // A bound is one.
        #expect(
            stored.number("entropy_noise_max") > 3 * entropy
                && stored.number("logprob_noise_max") > stored.number("logits_sampler_max"))
    }

    @Test(arguments: Form.allCases, Writing.allCases) func honestDumpsRaiseNoAlarm(_ form: Form, _ writing: Writing)
        throws
    {
        for (temperature, seed) in [(1, 1), (0.6, 2)] as [(Float, UInt64)] {
            let scored = try score(try dump(form, temperature: temperature, writing: writing, seed: seed))
            #expect(!scored.warns, "\(form), \(writing), temperature \(temperature): \(scored.errors)")
        }
        // One rollout of few tokens.
        for seed in 4..<6 as Range<UInt64> {
            let scored = try score(try dump(form, rollouts: 1, tokens: 3, writing: writing, seed: seed))
            #expect(!scored.warns, "\(form), \(writing): \(scored.errors)")
        }
    }

    /// Logits of a policy that is somewhat another, or of another temperature, are told from rounded ones.
    @Test(arguments: Form.allCases) func anotherPolicyIsNoticed(_ form: Form) throws {
        let drifted = try score(try dump(form, drift: 0.15))
        #expect(drifted.warns && drifted.errors.contains("logits and sampler differ by"), "\(form): \(drifted.errors)")
        // Sampled at 0.6 with log-probabilities of temperature 1, as vLLM gives them unless told otherwise.
        var blobs = try dump(form, temperature: 1)
        blobs = blobs.map { replacing("\"temperature\":\"1.0\"", with: "\"temperature\":\"0.6\"", in: $0) }
        #expect(try score(blobs).warns, "\(form)")
    }

    private func replacing(_ text: String, with other: String, in blob: [UInt8]) -> [UInt8] {
        var data = Data(blob)
        if let range = data.range(of: Data(text.utf8)) { data.replaceSubrange(range, with: Data(other.utf8)) }
        return Array(data)
    }

    @Test func theReportNamesTheTypeAndIsTheSameForAnyThreads() throws {
        let blobs = try dump(.splitBF16, rollouts: 6, tokens: 60), one = try score(blobs, ["--threads", "1"]),
            two = try score(blobs, ["--threads", "2"])
        #expect(one.errors.contains("logits stored as bf16: expected error (root mean square)"), "\(one.errors)")
        #expect(NSDictionary(dictionary: one.report).isEqual(to: two.report) && one.measures == two.measures)
        #expect(try score(try dump(.widened)).errors.contains("logits stored as bf16"))
    }
}
