/// SmolLM3: Llama, but every fourth layer knows no positions. `no_rope_layers` says 1 where a layer rotates, against its
/// name.
package enum SmolLM3: ModelFamily {
    package static let modelTypes = ["smollm3"]
    package static let summary = "SmolLM3: every fourth layer without positions"
    package static let ownKeys: Set<String> = ["no_rope_layers"]

    package static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture {
        let defaults = DecoderArchitecture.Defaults(
            keyValueHeads: 4, maxPositions: 32_768, tiedHead: true, paddingToken: 128_004, rotaryBase: 2_000_000)
        var architecture = try DecoderArchitecture(configuration, defaults)
        architecture.activation = try activation(configuration)
        architecture.biases = try attentionBiases(configuration, default: false)
        architecture.biases.feedForward = try configuration.bool("mlp_bias", default: false)
        let rotates = try rotatingLayers(configuration, layers: architecture.layers)
        let isOn = try configuration.bool("use_sliding_window", default: false) && configuration.has("sliding_window")
        let window = isOn ? try configuration.size("sliding_window") : nil
        architecture.attention = try windows(configuration, layers: architecture.layers, window: window) {
            !rotates[$0]
        }
        for layer in rotates.indices where !rotates[layer] { architecture.attention[layer].rotary = nil }
        return architecture
    }

    private static func rotatingLayers(_ configuration: ModelConfiguration, layers: Int) throws -> [Bool] {
        guard let given = try configuration.ints("no_rope_layers") else {
            let interval = try configuration.size("no_rope_layer_interval", default: 4)
            return (0..<layers).map { ($0 + 1) % interval != 0 }
        }
        guard given.count == layers, given.allSatisfy({ $0 == 0 || $0 == 1 }) else {
            throw configuration.error(
                "no_rope_layers", found: configuration.spelled("no_rope_layers"),
                expected: "\(layers) numbers, 1 for a layer that rotates and 0 for one that doesn't")
        }
        return given.map { $0 == 1 }
    }
}
