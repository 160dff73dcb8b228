import Foundation
import Models
import Tensors

/// Forward and backward of a Qwen2.5-0.5B-shaped model with six layers (random weights) on one group: eight completions of
/// one prompt.
struct UpdateBench {
    let machine: MachineLimits
    let threads: Int

    private static let configuration = """
        {"model_type": "qwen2", "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 6,
         "num_attention_heads": 14, "num_key_value_heads": 2, "tie_word_embeddings": true, "rope_theta": 1000000.0}
        """

    func run() throws {
        let architecture = try ModelRegistry.architecture(try ModelConfiguration(json: Data(Self.configuration.utf8), path: "bench"))
        let layout = ParameterLayout(architecture), parameters = Buffer(layout.count), gradients = Buffer(layout.count)
        for i in 0..<layout.count { parameters.pointer[i] = Float((i &* 2_654_435_761) & 0xffff) / 65536 * 0.04 - 0.02 }
        let model = LanguageModel(architecture, parameters: parameters, threads: threads)
        let group = queries(prompt: 128, completion: 128, count: 8), tokens = 8 * 128
        let time = try seconds {
            try model.accumulateGradients(group, units: group.map { _ in 1 }, into: FullTraining(model).gradients(into: gradients)) { _, scores in
                scores.map { scores in scores.logprobs.map { $0 == 0 ? 0 : 1e-3 } }
            }
        }
        // Useful work alone: each parameter of the body twice forward and four times backward per distinct token, the head on completions.
        let body = layout.count - architecture.vocabulary * architecture.hidden, distinct = 128 + 8 * 128
        let work = 6 * (Double(body) * Double(distinct) + Double(architecture.vocabulary * architecture.hidden) * Double(tokens))
        print("update, Qwen2.5-0.5B shape with 6 layers (\(layout.count / 1_000_000) M parameters), group of 8, prompt 128, completions 128:")
        print(
            "  \(text(Double(tokens) / time)) completion tokens/s, \(text(work / time / 1e9)) GFLOP/s of useful work, "
                + "\(text(100 * work / time / machine.multiplyRate)) % of the sgemm rate")
    }

    private func queries(prompt: Int, completion: Int, count: Int) -> [SequenceQuery] {
        let stem = (0..<prompt).map { Int32($0 * 37 % 5000) }
        return (0..<count).map { index in
            let tail = (0..<completion).map { Int32(($0 * 61 + index * 1009 + 7) % 100_000) }
            return SequenceQuery(tokenIDs: stem + tail, wanted: (0..<prompt + completion).map { $0 >= prompt }, temperature: 1)
        }
    }
}
