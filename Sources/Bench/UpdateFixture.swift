import Formats
import Foundation
import Models
import Recipes
import StageSupport
import Tensors

/// A checkpoint and a plan on disk, from which both sides make their step.
struct UpdateFixture {
    let folder: String
    var checkpoint: String { folder + "/checkpoint" }

    static let configuration = """
        {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 6,
         "num_attention_heads": 14, "num_key_value_heads": 2, "tie_word_embeddings": true, "rope_theta": 1000000.0, "rms_norm_eps": 1e-6, "hidden_act": "silu",
         "max_position_embeddings": 32768, "torch_dtype": "float32"}
        """

    static func architecture() throws -> DecoderArchitecture {
        try ModelRegistry.architecture(try ModelConfiguration(json: Data(configuration.utf8), path: "bench"))
    }

    /// Uniform in ±0.035, whose variance is that of transformers' initialisation (0.02²), norms 1, biases 0.
    static func weights(_ layout: ParameterLayout) -> Buffer {
        let buffer = Buffer(layout.count)
        for parameter in layout.parameters where !parameter.name.hasSuffix(".bias") {
            let isNorm = parameter.shape.count == 1
            for i in parameter.range {
                var z = UInt32(truncatingIfNeeded: i) &* 0x9E37_79B1
                z = (z ^ (z >> 15)) &* 0x85EB_CA77
                buffer.pointer[i] = isNorm ? 1 : Float(z >> 8) / Float(1 << 24) * 0.07 - 0.035
            }
        }
        return buffer
    }

    init(folder: String) throws {
        self.folder = folder
        try FileManager.default.createDirectory(atPath: checkpoint, withIntermediateDirectories: true)
        try AtomicFile.write(Self.configuration, to: checkpoint + "/config.json")
        let layout = ParameterLayout(try Self.architecture()), weights = Self.weights(layout)
        let tensors = layout.parameters.map { TensorInfo(name: $0.name, dtype: .f32, shape: $0.shape) }
        let writer = try SafetensorsWriter(path: checkpoint + "/model.safetensors", header: SafetensorsHeader(laying: tensors, metadata: ["format": "pt"]))
        for parameter in layout.parameters {
            try writer.append(UnsafeRawBufferPointer(start: weights.pointer + parameter.range.lowerBound, count: 4 * parameter.range.count))
        }
        try writer.finish()
    }

    func plan(_ name: String) -> String { folder + "/plan-" + name }

    /// The plan of one optimizer step on these rows.
    func write(_ batch: UpdateCase) throws {
        let path = plan(batch.name)
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        var table = try ArrowTableWriter(path: path + "/plan.arrow", table: Tables.plan, metadata: [:])
        for row in batch.rows { try table.append(row) }
        try table.finish()
        try AtomicFile.write(try Recipe.load(yaml: "name: bench", file: "bench").resolvedJSON(), to: path + "/recipe.resolved.json")
        try Manifest(stage: "plan", configuration: [:], inputs: []).write(to: path)
    }
}
