/// GLM-4-0414 (`glm4`): norms before and after both halves, of its own names; gate and up are one tensor; biases on q, k
/// and v; the first half of a head is rotated, neighbours in pairs.
package enum Glm4: ModelFamily {
    package static let modelTypes = ["glm4"]
    package static let summary = "GLM-4-0414: norms around both halves, half of a head rotated in neighbouring pairs"

    package static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture {
        let defaults = DecoderArchitecture.Defaults(
            keyValueHeads: 2, headWidth: 128, maxPositions: 131_072, paddingToken: 151_329, normEpsilon: 1.5625e-7)
        var architecture = try DecoderArchitecture(configuration, defaults)
        // `post_attention_layernorm` stands before the feed-forward half, as in Llama.
        architecture.norms = NormPlacement(
            beforeAttention: "input_layernorm", afterAttention: "post_self_attn_layernorm",
            beforeFeedForward: "post_attention_layernorm", afterFeedForward: "post_mlp_layernorm")
        architecture.activation = try activation(configuration)
        architecture.projections = ProjectionNames(fused: ProjectionNames.gateAndUp)
        architecture.biases.queryKeyValue = try configuration.bool("attention_bias", default: true)
        try refuseActive("mlp_bias", configuration)
        architecture.rotaries = try architecture.rotaries.map {
            let width = try $0.scaling.rotatedWidth(architecture.headWidth, configuration, default: 0.5)
            return RotaryEmbedding($0.scaling, width: width, pairs: .neighbours)
        }
        _ = try layerTypes(configuration, layers: architecture.layers, hasWindow: false)
        return architecture
    }
}
