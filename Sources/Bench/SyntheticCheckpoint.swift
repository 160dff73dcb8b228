import CKernels
import Files
import Formats
import Foundation
import Models

/// The sizes of a model of the Qwen2.5 family.
struct QwenShape {
    let name: String
    let vocabulary: Int
    let hidden: Int
    let feedForward: Int
    var layers: Int
    let queryHeads: Int
    let keyValueHeads: Int
    let isTied: Bool

    /// Qwen2.5-0.5B's, with as many of its 24 layers.
    static func small(layers: Int) -> QwenShape {
        QwenShape(
            name: "Qwen2.5-0.5B", vocabulary: 151_936, hidden: 896, feedForward: 4864, layers: layers, queryHeads: 14,
            keyValueHeads: 2, isTied: true)
    }

    static let middle = QwenShape(
        name: "Qwen2.5-1.5B", vocabulary: 151_936, hidden: 1536, feedForward: 8960, layers: 28, queryHeads: 12,
        keyValueHeads: 2, isTied: true)

    static let large = QwenShape(
        name: "Qwen2.5-7B", vocabulary: 152_064, hidden: 3584, feedForward: 18_944, layers: 28, queryHeads: 28,
        keyValueHeads: 4, isTied: false)
}

extension QwenShape {
    func configuration(_ dtype: DType) -> String {
        """
        {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": \(vocabulary), "hidden_size": \(hidden),
         "intermediate_size": \(feedForward), "num_hidden_layers": \(layers), "num_attention_heads": \(queryHeads),
         "num_key_value_heads": \(keyValueHeads), "tie_word_embeddings": \(isTied), "rope_theta": 1000000.0,
         "rms_norm_eps": 1e-6, "hidden_act": "silu", "max_position_embeddings": 32768, "torch_dtype": "\(dtype == .bf16 ? "bfloat16" : "float32")"}
        """
    }
}

/// A checkpoint with random weights.
struct SyntheticCheckpoint {
    /// config.json
    let configuration: String
    let dtype: DType

    init(_ shape: QwenShape, dtype: DType) { self.init(shape.configuration(dtype), dtype: dtype) }

    init(_ configuration: String, dtype: DType) { (self.configuration, self.dtype) = (configuration, dtype) }

    func write(to folder: String) throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try AtomicFile.write(configuration, to: folder + "/config.json")
        let layout = ParameterLayout(try ModelRegistry.architecture(try ModelConfiguration(directory: folder)))
        let tensors = layout.parameters.map { TensorInfo(name: $0.name, dtype: dtype, shape: $0.shape) }
        let writer = try SafetensorsWriter(
            path: folder + "/model.safetensors", header: SafetensorsHeader(laying: tensors, metadata: ["format": "pt"]))
        for parameter in layout.parameters {
            let end = parameter.range.upperBound
            for start in stride(from: parameter.range.lowerBound, to: end, by: Self.writtenAtOnce) {
                try append(weights(parameter, start..<min(start + Self.writtenAtOnce, end)), to: writer)
            }
        }
        try writer.finish()
    }

    /// Weights at a time, so that a large checkpoint takes little memory to make.
    private static let writtenAtOnce = 1 << 22

    /// Elements `range` of all parameters, those of one: uniform in ±0.035, whose variance is that of transformers' initialisation (0.02²), norms 1, biases 0.
    private func weights(_ parameter: ParameterLayout.Parameter, _ range: Range<Int>) -> [Float] {
        if !parameter.isWeightMatrix {
            return [Float](repeating: parameter.name.hasSuffix("bias") ? 0 : 1, count: range.count)
        }
        return range.map { i in
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
