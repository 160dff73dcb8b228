/// Granite 3 (dense, `granite`): Llama with factors on embeddings, on scores in place of 1/√D, on what each half adds,
/// and a divisor of logits. A missing key is 1, of scores too.
package enum Granite: ModelFamily {
    package static let modelTypes = ["granite"]
    package static let summary = "Granite 3, dense: factors on embeddings, scores, halves and logits"
    package static let ownKeys: Set<String> = [
        "embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling",
    ]

    package static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture {
        var architecture = try DecoderArchitecture(configuration)
        architecture.activation = try activation(configuration)
        architecture.biases = try attentionBiases(configuration, default: false)
        architecture.biases.feedForward = try configuration.bool("mlp_bias", default: false)
        func factor(_ key: String) throws -> Float { Float(try configuration.positive(key, default: 1)) }
        architecture.scales.embedding = try factor("embedding_multiplier")
        architecture.scales.residual = try factor("residual_multiplier")
        architecture.scales.logits = 1 / (try factor("logits_scaling"))
        let attention = LayerAttention(scale: try factor("attention_multiplier"))
        architecture.attention = [LayerAttention](repeating: attention, count: architecture.layers)
        _ = try layerTypes(configuration, layers: architecture.layers, hasWindow: false)
        return architecture
    }
}
