/// Qwen3.5's dense text models (`qwen3_5_text`, and within `qwen3_5`): three of four layers with a gated delta rule in
/// attention's place; where there is attention, norms on every query and key head, a gate on what each head gives, and a
/// quarter of a head rotated. Norms have weights 1 + w, but for the one behind the delta rule.
package enum Qwen35: ModelFamily {
    package static let modelTypes = ["qwen3_5_text"]
    package static let summary = "Qwen3.5, dense text: gated DeltaNet in three of four layers"

    package static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture {
        let defaults = DecoderArchitecture.Defaults(keyValueHeads: 4, headWidth: 256, maxPositions: 32_768)
        var architecture = try DecoderArchitecture(configuration, defaults)
        architecture.normOffset = 1
        architecture.queryKeyNorm = .perHead
        architecture.activation = try activation(configuration)
        architecture.biases = try attentionBiases(configuration, default: false)
        try refuseActive("mlp_bias", configuration)
        try requireOutputGate(configuration)
        architecture.hasOutputGate = true
        architecture.rotaries = try architecture.rotaries.map {
            RotaryEmbedding(
                $0.scaling, width: try $0.scaling.rotatedWidth(architecture.headWidth, configuration, default: 0.25))
        }
        architecture.deltaNet = try DeltaNet(configuration, keyHeads: 16, valueHeads: 32, width: 128, taps: 4)
        architecture.deltaLayers = try deltaLayers(configuration, layers: architecture.layers)
        // Its …ForTokenClassification is a class of models with images: of a text model's folder it makes another one.
        architecture.critic = CriticClass(sequenceClassification: "Qwen3_5TextForSequenceClassification")
        // A text model that was loaded from one with images is saved under that one's names.
        architecture.places = TextModelPlace.all
        return architecture
    }

    /// Files name the gate, and transformers computes it whatever they say.
    private static func requireOutputGate(_ configuration: ModelConfiguration) throws {
        guard try !configuration.bool("attn_output_gate", default: true) else { return }
        throw configuration.error(
            "attn_output_gate", found: "false", expected: "true: model_type qwen3_5_text has no attention without it")
    }

    private static func deltaLayers(_ configuration: ModelConfiguration, layers: Int) throws -> Set<Int> {
        let interval = try configuration.size("full_attention_interval", default: 4), linear = "linear_attention"
        let given = try layerTypes(configuration, layers: layers, known: ["full_attention", linear])
        return Set((0..<layers).filter { layer in given.map { $0[layer] == linear } ?? ((layer + 1) % interval != 0) })
    }
}
