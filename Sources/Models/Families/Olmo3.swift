/// OLMo 3: OLMo 2 with a window in three of four layers. Only layers that see all have their positions scaled.
package enum Olmo3: ModelFamily {
    package static let modelTypes = ["olmo3"]
    package static let summary = "OLMo 3: the same with a window in three of four layers"

    package static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture {
        let defaults = DecoderArchitecture.Defaults(paddingToken: 1, normEpsilon: 1e-5)
        try refuseOtherBase(configuration)
        var architecture = try DecoderArchitecture(configuration, defaults) { maxPositions in
            try ["full_attention", "sliding_attention"].map {
                try RotaryScaling(configuration, of: $0, baseKey: "rope_theta", base, maxPositions: maxPositions)
            }
        }
        try Olmo2.describe(&architecture, configuration)
        let window = try configuration.size("sliding_window", default: 4096)
        architecture.attention = try windows(configuration, layers: architecture.layers, window: window) {
            ($0 + 1) % 4 != 0
        }.map { LayerAttention(window: $0.window, rotary: $0.window == nil ? 0 : 1) }
        return architecture
    }

    private static let base = 500_000.0

    /// transformers 5 gives layers with a window the usual base whatever a file of transformers 4 says.
    private static func refuseOtherBase(_ configuration: ModelConfiguration) throws {
        guard !configuration.has("rope_parameters") else { return }
        let found = try configuration.double("rope_theta", default: base)
        guard found == base else {
            throw configuration.error(
                "rope_theta", found: "\(found)", expected: "\(base), or rope_parameters by layer type",
                remedy: "Versions of transformers differ about layers with a window; write rope_parameters.")
        }
    }
}
