/// Qwen2 and Qwen2.5: biases on q, k and v, always; upper layers may see a sliding window.
package enum Qwen2: ModelFamily {
    package static let modelTypes = ["qwen2"]
    package static let summary = "Qwen2 and 2.5"

    package static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture {
        var architecture = try DecoderArchitecture(configuration)
        architecture.activation = try activation(configuration)
        architecture.biases.queryKeyValue = true
        try refuseActive("mlp_bias", configuration)
        architecture.attention = try slidingWindows(configuration, layers: architecture.layers)
        return architecture
    }
}
