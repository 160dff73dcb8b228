import Formats

/// A family of models: how a `config.json` of its kind becomes the architecture that the shared decoder runs.
package protocol ModelFamily: Sendable {
    /// The `model_type` of config.json.
    static var modelType: String { get }
    static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture
}

package enum ModelRegistry {
    /// Sorted by name. A newcomer: one file, one line here, one fixture.
    package static let families: [any ModelFamily.Type] = [
        Llama.self,
        Qwen2.self,
        Qwen3.self,
    ]

    package static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture {
        let name = try configuration.string("model_type")
        guard let family = families.first(where: { $0.modelType == name }) else {
            throw configuration.error(
                "model_type", found: "'\(name)'",
                expected: "one of \(families.map { $0.modelType }.joined(separator: ", "))")
        }
        let architecture = try family.architecture(configuration)
        try architecture.validate(configuration)
        return architecture
    }
}
