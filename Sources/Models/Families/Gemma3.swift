import Foundation

/// Gemma 3's text models (`gemma3_text`: 270M, 1B, and within `gemma3`): norms with weights 1 + w before and after both halves and on every
/// query and key head, gelu in its tanh form, embeddings times √C, scores divided by √query_pre_attn_scalar. Most
/// layers see a window and rotate with a base of their own; every sixth sees all.
package enum Gemma3: ModelFamily {
    package static let modelTypes = ["gemma3_text"]
    package static let summary = "Gemma 3, text: norms on queries and keys, a window in five of six layers"
    /// A cap of scores isn't among them: transformers reads it and computes without.
    package static let ownKeys: Set<String> = ["query_pre_attn_scalar", "final_logit_softcapping"]

    package static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture {
        let defaults = DecoderArchitecture.Defaults(
            keyValueHeads: 4, headWidth: 256, maxPositions: 131_072, tiedHead: true, paddingToken: 0)
        var architecture = try DecoderArchitecture(configuration, defaults) { maxPositions in
            try [LayerType.full, .sliding].map {
                try RotaryScaling(configuration, of: $0.name, baseKey: $0.baseKey, $0.base, maxPositions: maxPositions)
            }
        }
        architecture.norms = .around
        architecture.normOffset = 1
        architecture.queryKeyNorm = .perHead
        architecture.activation = try activation(
            configuration, "hidden_activation", default: "gelu_pytorch_tanh")
        architecture.scales.embedding = Float(Double(architecture.hidden).squareRoot())
        architecture.scales.logitCap = try configuration.cap("final_logit_softcapping")
        architecture.biases = try attentionBiases(configuration, default: false)
        architecture.attention = try attention(configuration, layers: architecture.layers)
        return architecture
    }

    /// The two kinds of layers, in the order of `rotaries`.
    private enum LayerType: Int {
        case full, sliding

        var name: String { self == .full ? "full_attention" : "sliding_attention" }
        /// Where files of transformers 4 have the base.
        var baseKey: String { self == .full ? "rope_theta" : "rope_local_base_freq" }
        var base: Double { self == .full ? 1_000_000 : 10_000 }
    }

    private static func attention(_ configuration: ModelConfiguration, layers: Int) throws -> [LayerAttention] {
        let scalar = try configuration.positive("query_pre_attn_scalar", default: 256)
        let window = try configuration.size("sliding_window", default: 4096)
        let pattern = try configuration.size("sliding_window_pattern", default: 6)
        let given = try layerTypes(configuration, layers: layers, hasWindow: true)?.map { $0 == LayerType.full.name }
        return (given ?? (0..<layers).map { ($0 + 1) % pattern == 0 }).map { isFull in
            LayerAttention(
                window: isFull ? nil : window, scale: Float(pow(scalar, -0.5)),
                rotary: (isFull ? LayerType.full : .sliding).rawValue)
        }
    }
}
