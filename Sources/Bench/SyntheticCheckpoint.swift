import CKernels
import Files
import Formats
import Foundation
import Models

/// A checkpoint of Qwen2.5-0.5B's shape with random weights.
struct SyntheticCheckpoint {
    let layers: Int
    let dtype: DType

    private var configuration: String {
        """
        {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864,
         "num_hidden_layers": \(layers), "num_attention_heads": 14, "num_key_value_heads": 2, "tie_word_embeddings": true, "rope_theta": 1000000.0,
         "rms_norm_eps": 1e-6, "hidden_act": "silu", "max_position_embeddings": 32768, "torch_dtype": "\(dtype == .bf16 ? "bfloat16" : "float32")"}
        """
    }

    func write(to folder: String) throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try AtomicFile.write(configuration, to: folder + "/config.json")
        let layout = ParameterLayout(try ModelRegistry.architecture(try ModelConfiguration(directory: folder)))
        let tensors = layout.parameters.map { TensorInfo(name: $0.name, dtype: dtype, shape: $0.shape) }
        let writer = try SafetensorsWriter(
            path: folder + "/model.safetensors", header: SafetensorsHeader(laying: tensors, metadata: ["format": "pt"]))
        for parameter in layout.parameters { try append(weights(parameter), to: writer) }
        try writer.finish()
    }

    /// Uniform in ±0.035, whose variance is that of transformers' initialisation (0.02²), norms 1, biases 0.
    private func weights(_ parameter: ParameterLayout.Parameter) -> [Float] {
        if parameter.shape.count == 1 {
            return [Float](repeating: parameter.name.hasSuffix(".bias") ? 0 : 1, count: parameter.range.count)
        }
        return parameter.range.map { i in
            var z = UInt32(truncatingIfNeeded: i) &* 0x9E37_79B1
            z = (z ^ (z >> 15)) &* 0x85EB_CA77
            return Float(z >> 8) / Float(1 << 24) * 0.07 - 0.035
        }
    }

    private func append(_ values: [Float], to writer: SafetensorsWriter) throws {
        guard dtype == .bf16 else { return try values.withUnsafeBytes { try writer.append($0) } }
        var half = [UInt16](repeating: 0, count: values.count)
        crux_f32_to_bf16(values, &half, values.count)
        try half.withUnsafeBytes { try writer.append($0) }
    }
}
