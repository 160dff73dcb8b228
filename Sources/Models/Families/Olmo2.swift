/// OLMo 2: no norms before the halves but on what they add, and on all queries' and all keys' elements together.
package enum Olmo2: ModelFamily {
    package static let modelTypes = ["olmo2"]
    package static let summary = "OLMo 2: norms after both halves, and on all queries and keys together"

    package static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture {
        let defaults = DecoderArchitecture.Defaults(paddingToken: 1, normEpsilon: 1e-5)
        var architecture = try DecoderArchitecture(configuration, defaults)
        try describe(&architecture, configuration)
        _ = try layerTypes(configuration, layers: architecture.layers, hasWindow: false)
        return architecture
    }

    /// What OLMo 3 has too.
    static func describe(_ architecture: inout DecoderArchitecture, _ configuration: ModelConfiguration) throws {
        architecture.norms = .after
        architecture.queryKeyNorm = .wholeWidth
        architecture.activation = try activation(configuration)
        architecture.biases = try attentionBiases(configuration, default: false)
        try refuseActive("mlp_bias", configuration)
    }
}
