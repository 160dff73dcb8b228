/// Qwen2 and Qwen2.5: biases on q, k and v, always; upper layers may see a sliding window.
package enum Qwen2: ModelFamily {
    package static let modelType = "qwen2"

    package static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture {
        var architecture = try DecoderArchitecture(configuration)
        architecture.queryKeyValueBias = true
        try refuseActive("mlp_bias", configuration)
        architecture.windows = try slidingWindows(configuration, layers: architecture.layers)
        return architecture
    }
}
