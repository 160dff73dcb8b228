/// gpt-oss (`gpt_oss`): experts in every layer, stored inputs first with gate and up in turns and clamped; biases everywhere;
/// a learned sink in each head's softmax; a window in every other layer, from the first on.
package enum GptOss: ModelFamily {
    package static let modelTypes = ["gpt_oss"]
    package static let summary = "gpt-oss: experts, sinks, a window in every other layer"
    package static let ownKeys: Set<String> = ["num_experts", "num_local_experts"]

    package static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture {
        let defaults = DecoderArchitecture.Defaults(
            keyValueHeads: 8, headWidth: 64, maxPositions: 131_072, normEpsilon: 1e-5, rotaryBase: 150_000)
        guard configuration.has("rope_parameters") || configuration.has("rope_scaling") else {
            throw configuration.error(
                "rope_parameters", found: "nothing", expected: "rotary parameters",
                remedy:
                    "transformers would take yarn of factor 32; write into config.json what the model was trained with."
            )
        }
        var architecture = try DecoderArchitecture(configuration, defaults)
        _ = try activation(configuration)
        architecture.activation = .clampedSilu(
            limit: Float(try configuration.positive("swiglu_limit", default: 7)),
            slope: Float(try configuration.positive("swiglu_alpha", default: 1.702)))
        architecture.biases = try attentionBiases(configuration, default: true)
        architecture.hasSinks = true
        architecture.experts = try experts(configuration)
        let window = try configuration.size("sliding_window", default: 128)
        architecture.attention = try windows(configuration, layers: architecture.layers, window: window) { $0 % 2 == 0 }
        return architecture
    }

    private static func experts(_ configuration: ModelConfiguration) throws -> ExpertMixture {
        // Files of transformers 4 may say experts_per_token.
        let chosen = try configuration.size("experts_per_token", default: 4)
        var experts = try ExpertMixture(
            configuration, count: try configuration.expertCount(default: 128), chosen: chosen,
            width: try configuration.size("intermediate_size", limit: 1 << 24), sumsToOne: true,
            storage: .interleaved, routerName: "mlp.router")
        experts.routerHasBias = true
        return experts
    }
}
