import Formats

/// The families that checkpoints may be of, by the `model_type` of their config.json.
package enum ModelRegistry {
    /// Sorted by name. A newcomer: one file, one line here, one fixture.
    package static let families: [any ModelFamily.Type] = [
        Gemma3.self,
        Llama.self,
        Mistral.self,
        Qwen2.self,
        Qwen3.self,
    ]

    package static var modelTypes: [String] { families.flatMap { $0.modelTypes } }

    package static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture {
        let name = try configuration.string("model_type")
        guard let family = families.first(where: { $0.modelTypes.contains(name) }) else {
            throw configuration.error(
                "model_type", found: "'\(name)'", expected: "one of \(modelTypes.joined(separator: ", "))")
        }
        let architecture = try family.architecture(configuration)
        try architecture.validate(configuration, ownKeys: family.ownKeys)
        return architecture
    }
}
