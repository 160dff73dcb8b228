/// Mistral (`mistral`: 7B, Nemo, Small's text model) and Ministral 8B (`ministral`): Llama without biases, with a head
/// width of its own and a sliding window in every layer, or in those that `layer_types` names. As in transformers a
/// missing `sliding_window` is 4,096; null is none.
package enum Mistral: ModelFamily {
    package static let modelTypes = ["mistral", "ministral"]
    package static let summary = "Mistral and Ministral 8B: a window in every layer or in some"

    package static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture {
        let defaults = DecoderArchitecture.Defaults(keyValueHeads: 8, maxPositions: 131_072)
        var architecture = try DecoderArchitecture(configuration, defaults)
        architecture.activation = try activation(configuration)
        try refuseActive("attention_bias", configuration)
        try refuseActive("mlp_bias", configuration)
        architecture.attention = try windows(configuration, layers: architecture.layers)
        return architecture
    }

    private static func windows(_ configuration: ModelConfiguration, layers: Int) throws -> [LayerAttention] {
        let isOn = configuration.isMissing("sliding_window") || configuration.has("sliding_window")
        let window = isOn ? try configuration.size("sliding_window", default: 4096) : nil
        let usual = isOn ? "sliding_attention" : "full_attention"
        let types = try layerTypes(configuration, layers: layers, hasWindow: isOn)
        if let types, let place = types.firstIndex(where: { $0 != usual }),
            try configuration.string("model_type") == "mistral"
        {
            throw configuration.error(
                "layer_types", found: "'\(types[place])' of layer \(place)",
                expected: "\(usual) in every layer of model_type mistral",
                remedy: "transformers takes no notice of layer_types there; model_type ministral obeys them.")
        }
        return (types ?? [String](repeating: usual, count: layers)).map {
            LayerAttention(window: $0 == "sliding_attention" ? window : nil)
        }
    }
}
