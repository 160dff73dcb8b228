/// Qwen3 (dense): RMS norms on every query and key head before rotation, a head width of its own, no biases by default.
package enum Qwen3: ModelFamily {
    package static let modelTypes = ["qwen3"]
    package static let summary = "Qwen3, dense: norms on queries and keys"

    package static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture {
        var architecture = try DecoderArchitecture(configuration, DecoderArchitecture.Defaults(headWidth: 128))
        architecture.activation = try activation(configuration)
        architecture.queryKeyNorm = .perHead
        architecture.biases = try attentionBiases(configuration, default: false)
        try refuseActive("mlp_bias", configuration)
        architecture.attention = try slidingWindows(configuration, layers: architecture.layers)
        return architecture
    }
}
