import Foundation

/// Gemma 2: norms with weights 1 + w before and after both halves, gelu in its tanh form, embeddings times √C, scores
/// divided by √query_pre_attn_scalar and capped, logits capped. Every other layer, from the first on, sees a window.
package enum Gemma2: ModelFamily {
    package static let modelTypes = ["gemma2"]
    package static let summary = "Gemma 2: caps of scores and logits, a window in every other layer"
    package static let ownKeys: Set<String> = [
        "query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping",
    ]

    package static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture {
        let defaults = DecoderArchitecture.Defaults(
            keyValueHeads: 4, headWidth: 256, maxPositions: 8192, tiedHead: true, paddingToken: 0)
        var architecture = try DecoderArchitecture(configuration, defaults)
        architecture.norms = .around
        architecture.normOffset = 1
        architecture.activation = try activation(configuration, "hidden_activation", default: "gelu_pytorch_tanh")
        // transformers rounds it to the weights' type; in float32 this is its value.
        architecture.scales.embedding = Float(Double(architecture.hidden).squareRoot())
        architecture.scales.logitCap = try configuration.cap("final_logit_softcapping", default: 30)
        architecture.biases = try attentionBiases(configuration, default: false)
        architecture.attention = try attention(configuration, layers: architecture.layers)
        return architecture
    }

    private static func attention(_ configuration: ModelConfiguration, layers: Int) throws -> [LayerAttention] {
        let scalar = try configuration.positive("query_pre_attn_scalar", default: 256)
        let cap = try configuration.cap("attn_logit_softcapping", default: 50)
        let window = try configuration.size("sliding_window", default: 4096)
        return try windows(configuration, layers: layers, window: window) { $0 % 2 == 0 }.map {
            LayerAttention(window: $0.window, scale: Float(pow(scalar, -0.5)), cap: cap)
        }
    }
}
