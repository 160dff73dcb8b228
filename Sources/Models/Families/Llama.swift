/// Llama 2, 3, 3.1, 3.2: no q/k norm; biases only where the configuration asks for them.
package enum Llama: ModelFamily {
    package static let modelTypes = ["llama"]
    package static let summary = "Llama 2 and 3"

    package static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture {
        var architecture = try DecoderArchitecture(configuration)
        architecture.activation = try activation(configuration)
        architecture.biases = try attentionBiases(configuration, default: false)
        architecture.biases.feedForward = try configuration.bool("mlp_bias", default: false)
        _ = try layerTypes(configuration, layers: architecture.layers, hasWindow: false)
        return architecture
    }
}
