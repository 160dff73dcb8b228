/// Qwen3 (dense): RMS norms on every query and key head before rotation, a head width of its own, no biases by default.
package enum Qwen3: ModelFamily {
    package static let modelType = "qwen3"

    package static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture {
        var architecture = try DecoderArchitecture(configuration)
        architecture.headWidth = try configuration.size("head_dim", default: 128)
        architecture.queryKeyNorm = true
        let attentionBias = try configuration.bool("attention_bias", default: false)
        architecture.queryKeyValueBias = attentionBias
        architecture.outputBias = attentionBias
        try refuseActive("mlp_bias", configuration)
        architecture.windows = try slidingWindows(configuration, layers: architecture.layers)
        return architecture
    }
}
