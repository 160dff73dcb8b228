/// Llama 2, 3, 3.1, 3.2: no q/k norm; biases only where the configuration asks for them.
package enum Llama: ModelFamily {
    package static let modelType = "llama"

    package static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture {
        var architecture = try DecoderArchitecture(configuration)
        let attentionBias = try configuration.bool("attention_bias", default: false)
        architecture.queryKeyValueBias = attentionBias
        architecture.outputBias = attentionBias
        architecture.feedForwardBias = try configuration.bool("mlp_bias", default: false)
        _ = try layerTypes(configuration, layers: architecture.layers, hasWindow: false)
        return architecture
    }
}
