import Foundation
import Models
import Tensors

/// Sampling from a Qwen2.5-0.5B-shaped model, beside transformers' generate on the same cores, turn by turn.
struct GenerationBench {
    let machine: MachineLimits
    let threads: Int
    /// A Python with torch and transformers; without one our own figures stand alone.
    let python: String?
    /// Of the products' weights; transformers' model has this type.
    let precision: Precision

    private static let configuration = """
        {"model_type": "qwen2", "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
         "num_attention_heads": 14, "num_key_value_heads": 2, "tie_word_embeddings": true, "rope_theta": 1000000.0}
        """
    private static let prompt = 32
    private static let new = 128
    private static let rounds = 2

    func run() throws {
        let architecture = try ModelRegistry.architecture(
            try ModelConfiguration(json: Data(Self.configuration.utf8), path: "bench"))
        let model = LanguageModel(
            architecture, parameters: Self.weights(ParameterLayout(architecture).count), threads: threads)
        let baseline = try python.map { try Baseline(python: $0, ["bench/generate.py", precision.rawValue]) }
        say(
            "generation, Qwen2.5-0.5B shape (24 layers, \(precision.rawValue)), prompts of \(Self.prompt) tokens, \(Self.new) new ones each:"
        )
        for batch in [1, 8, 32] {
            let generator = Generator(model, stopTokens: [], slots: batch, precision: precision)
            var ours: [Double] = [], shared: [Double] = [], theirs: [Double] = []
            for _ in 0..<Self.rounds {
                ours.append(try rate(generator, batch, rolloutsPerPrompt: 1))
                shared.append(try rate(generator, batch, rolloutsPerPrompt: 8))
                if batch > 1, let baseline {
                    theirs += try baseline.ask("\(batch) \(Self.prompt) \(Self.new) \(threads)")
                }
            }
            report(
                "batch \(batch), different prompts", batch, ours.max() ?? 0, theirs.max(),
                bytes: Double((precision == .f32 ? 4 : 2) * model.layout.count))
            if batch > 1 {
                report(
                    "batch \(batch), groups of 8", batch, shared.max() ?? 0, theirs.max(),
                    bytes: Double((precision == .f32 ? 4 : 2) * model.layout.count))
            }
        }
    }

    private static func weights(_ count: Int) -> Buffer {
        let buffer = Buffer(uninitialized: count)
        for i in 0..<count { buffer.pointer[i] = Float((i &* 2_654_435_761) & 0xffff) / 65536 * 0.04 - 0.02 }
        return buffer
    }

    private func rate(_ generator: Generator, _ batch: Int, rolloutsPerPrompt: Int) throws -> Double {
        let requests = (0..<batch).map { (index: Int) -> GenerationRequest in
            let prompt = (0..<Self.prompt).map { (place: Int) -> Int32 in
                Int32((place * 61 + index / rolloutsPerPrompt * 1009 + 7) % 100_000)
            }
            return GenerationRequest(
                prompt: prompt, maxTokens: Self.new, seed: UInt64(index), sampling: SamplingParameters())
        }
        return Double(batch * Self.new) / (try seconds { try generator.run(requests) { _, _ in } })
    }

    private func report(_ name: String, _ batch: Int, _ ours: Double, _ theirs: Double?, bytes: Double) {
        let limit = machine.readBandwidth / bytes * Double(batch)
        let ratio =
            theirs.map { ", transformers \(text($0)) tokens/s: \(String(format: "%.1f", ours / $0)) times as fast" }
            ?? ""
        say("  \(name): \(text(ours)) tokens/s (reading the weights alone would allow \(text(limit)))\(ratio)")
    }
}
