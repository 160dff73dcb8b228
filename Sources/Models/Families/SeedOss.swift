/// Seed-OSS (`seed_oss`): Llama with a head width of its own, and biases on q, k and v, not on the output unless asked
/// for.
package enum SeedOss: ModelFamily {
    package static let modelTypes = ["seed_oss"]
    package static let summary = "Seed-OSS"
    package static let ownKeys: Set<String> = ["attention_out_bias"]

    package static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture {
        let defaults = DecoderArchitecture.Defaults(
            keyValueHeads: 8, headWidth: 128, maxPositions: 524_288, paddingToken: 1)
        var architecture = try DecoderArchitecture(configuration, defaults)
        architecture.activation = try activation(configuration)
        architecture.biases.queryKeyValue = try configuration.bool("attention_bias", default: true)
        architecture.biases.output = try configuration.bool("attention_out_bias", default: false)
        architecture.biases.feedForward = try configuration.bool("mlp_bias", default: false)
        _ = try layerTypes(configuration, layers: architecture.layers, hasWindow: false)
        return architecture
    }
}
