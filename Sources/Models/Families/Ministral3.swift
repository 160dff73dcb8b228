/// Ministral 3 (`ministral3`, in releases within `mistral3`): Mistral with yarn, and queries that grow with their
/// position beyond the original length.
package enum Ministral3: ModelFamily {
    package static let modelTypes = ["ministral3"]
    package static let summary = "Ministral 3: yarn, queries that grow with their position"

    package static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture {
        let defaults = DecoderArchitecture.Defaults(
            keyValueHeads: 8, headWidth: 128, maxPositions: 262_144, paddingToken: 11, normEpsilon: 1e-5,
            rotaryBase: 1_000_000)
        var architecture = try DecoderArchitecture(configuration, defaults)
        architecture.activation = try activation(configuration)
        try refuseActive("attention_bias", configuration)
        try refuseActive("mlp_bias", configuration)
        architecture.queryScale = try queryScale(configuration)
        let window = configuration.has("sliding_window") ? try configuration.size("sliding_window") : nil
        architecture.attention = try windows(configuration, layers: architecture.layers, window: window) { _ in true }
        return architecture
    }

    private static func queryScale(_ configuration: ModelConfiguration) throws -> PositionScale {
        // A missing section would be yarn of 16 in transformers: too much to be left unsaid.
        guard let section = try configuration.section("rope_parameters") ?? configuration.section("rope_scaling") else {
            throw configuration.error(
                "rope_parameters", found: "nothing", expected: "rotary parameters with llama_4_scaling_beta",
                remedy:
                    "transformers would take yarn of factor 16; write into config.json what the model was trained with."
            )
        }
        let beta = try section.double("llama_4_scaling_beta")
        guard beta >= 0, beta.isFinite else {
            throw section.error("llama_4_scaling_beta", found: "\(beta)", expected: "a number of at least 0")
        }
        return PositionScale(
            beta: Float(beta), length: try section.size("original_max_position_embeddings"))
    }
}
