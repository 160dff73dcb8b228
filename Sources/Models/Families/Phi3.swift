/// Phi-3, 3.5-mini and 4-mini (`phi3`): q, k and v are one tensor, gate and up another; a window in every layer where
/// there is one; a part of each head may be rotated. Their scaling is longrope, whatever older files call it.
package enum Phi3: ModelFamily {
    package static let modelTypes = ["phi3"]
    package static let summary = "Phi-3, 3.5-mini, 4-mini: fused weights, longrope"

    package static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture {
        let defaults = DecoderArchitecture.Defaults(maxPositions: 4096, paddingToken: 32_000, normEpsilon: 1e-5)
        var architecture = try DecoderArchitecture(configuration, defaults) { maxPositions in
            [try RotaryScaling(longrope: configuration, maxPositions: maxPositions)]
        }
        architecture.activation = try activation(configuration)
        architecture.projections = ProjectionNames(
            fused: ProjectionNames.queryKeyValue.merging(ProjectionNames.gateAndUp) { $1 })
        try refuseActive("attention_bias", configuration)
        try refuseActive("mlp_bias", configuration)
        architecture.rotaries = try architecture.rotaries.map {
            RotaryEmbedding(
                $0.scaling, width: try $0.scaling.rotatedWidth(architecture.headWidth, configuration, default: 1))
        }
        let window = configuration.has("sliding_window") ? try configuration.size("sliding_window") : nil
        architecture.attention = try windows(configuration, layers: architecture.layers, window: window) { _ in true }
        return architecture
    }
}
