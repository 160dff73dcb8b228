import CKernels
import Formats
import Foundation
import Models
import Randomness

/// A checkpoint of Qwen2.5-0.5B's shape with random weights, in bf16, and GRPO groups that it might have sampled.
struct MadeUpModel {
    let layers: Int

    private static let vocabulary = 151_936

    private var configuration: String {
        """
        {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": \(Self.vocabulary), "hidden_size": 896, "intermediate_size": 4864,
         "num_hidden_layers": \(layers), "num_attention_heads": 14, "num_key_value_heads": 2, "tie_word_embeddings": true, "rope_theta": 1000000.0,
         "rms_norm_eps": 1e-06, "max_position_embeddings": 32768, "hidden_act": "silu", "torch_dtype": "bfloat16"}
        """
    }

    func writeCheckpoint(to folder: String) throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try configuration.write(toFile: folder + "/config.json", atomically: true, encoding: .utf8)
        let layout = ParameterLayout(try ModelRegistry.architecture(try ModelConfiguration(directory: folder)))
        let tensors = layout.parameters.map { TensorInfo(name: $0.name, dtype: .bf16, shape: $0.shape) }
        let writer = try SafetensorsWriter(path: folder + "/model.safetensors", header: SafetensorsHeader(laying: tensors, metadata: ["format": "pt"]))
        var random = SplitMix64(seed: 1)
        for parameter in layout.parameters { try append(parameter, to: writer, &random) }
        try writer.finish()
    }

    /// Norms are 1, the rest is uniform with the standard deviation that such models start from, .02.
    private func append(_ parameter: ParameterLayout.Parameter, to writer: SafetensorsWriter, _ random: inout SplitMix64) throws {
        let isNorm = parameter.name.hasSuffix("norm.weight"), values = parameter.range.map { _ in isNorm ? 1 : Float(2 * random.uniform() - 1) * 0.0346 }
        var half = [UInt16](repeating: 0, count: values.count)
        crux_f32_to_bf16(values, &half, values.count)
        try half.withUnsafeBytes { try writer.append($0) }
    }

    /// Groups of 8, half of each right.
    func writeDump(to folder: String, groups: Int, prompt: Int, completion: Int) throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let writer = try RolloutShardWriter(path: folder + "/rollouts-00000.rollouts.zst")
        var random = SplitMix64(seed: 2)
        func tokens(_ count: Int) -> [Int32] { (0..<count).map { _ in Int32(random.uniform() * Double(Self.vocabulary)) } }
        for group in 0..<groups {
            let stem = tokens(prompt)
            for index in 0..<8 {
                var frame = RolloutFrame()
                frame.metadata = ["rollout_id": "g\(group)-\(index)", "group_id": "g\(group)", "sample_index": "\(index)", "reward": "\(index % 2)"]
                frame.tokenIDs = stem + tokens(completion)
                frame.lossMask = frame.tokenIDs.indices.map { $0 >= prompt }
                frame.rolloutLogprobs = frame.lossMask.map { $0 ? -11 : 0 }
                try writer.append(frame, logits: [])
            }
        }
        try writer.finish()
    }
}
