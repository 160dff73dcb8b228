import Formats
import Foundation

/// The families that checkpoints may be of, by the `model_type` of their config.json.
package enum ModelRegistry {
    /// Sorted by name. A newcomer: one file, one line here, one fixture.
    package static let families: [any ModelFamily.Type] = [
        Gemma2.self,
        Gemma3.self,
        Glm4.self,
        GptOss.self,
        Granite.self,
        Llama.self,
        Ministral3.self,
        Mistral.self,
        Olmo2.self,
        Olmo3.self,
        Phi3.self,
        Qwen2.self,
        Qwen3.self,
        Qwen35.self,
        Qwen3Moe.self,
        SeedOss.self,
        SmolLM3.self,
    ]

    package static var modelTypes: [String] { families.flatMap { $0.modelTypes } }

    /// Of checkpoints that hold a text model beside others.
    package static var combinedTypes: [String] { CombinedModel.all.map(\.modelType) }

    /// Every model_type that can be read, a line each.
    package static var listing: String {
        let all =
            families.flatMap { family in family.modelTypes.map { ($0, family.summary) } }
            + CombinedModel.all.map { ($0.modelType, $0.summary) }
        let width = all.map(\.0.count).max() ?? 0
        return all.sorted { $0.0 < $1.0 }.map { name, summary in
            name.padding(toLength: width + 2, withPad: " ", startingAt: 0) + summary
        }.joined(separator: "\n")
    }

    package static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture {
        let name = try configuration.string("model_type")
        guard let combined = CombinedModel.all.first(where: { $0.modelType == name }) else {
            return try architecture(configuration, modelType: name)
        }
        let (text, textType) = try combined.text(of: configuration)
        var architecture = try architecture(text, modelType: textType)
        architecture.places = TextModelPlace.all
        architecture.isBesideOthers = true
        return architecture
    }

    private static func architecture(_ configuration: ModelConfiguration, modelType name: String) throws
        -> DecoderArchitecture
    {
        guard let family = families.first(where: { $0.modelTypes.contains(name) }) else {
            let known = (modelTypes + combinedTypes).sorted().joined(separator: ", ")
            throw configuration.error("model_type", found: "'\(name)'", expected: "one of \(known)")
        }
        let architecture = try family.architecture(configuration)
        try architecture.validate(configuration, ownKeys: family.ownKeys)
        return architecture
    }
}
