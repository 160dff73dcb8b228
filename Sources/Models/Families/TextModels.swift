/// Where a text model's tensors lie in a checkpoint.
struct TextModelPlace: Sendable {
    let prefix: String
    let headName: String

    /// transformers 5 in memory, transformers 4 and 5 on disk, and a text model alone.
    static let all = [
        TextModelPlace(prefix: "model.language_model.", headName: "lm_head.weight"),
        TextModelPlace(prefix: "language_model.model.", headName: "language_model.lm_head.weight"),
        TextModelPlace(prefix: "model.", headName: "lm_head.weight"),
    ]
}

/// A checkpoint of several models, such as a text model beside one for images: its `text_config` describes the text
/// model, which alone is computed and trained. Every other tensor is passed through as it is.
struct CombinedModel: Sendable {
    let modelType: String
    let summary: String
    /// Of a `text_config` that names no model_type.
    let textModelType: String

    static let all = [
        CombinedModel(
            modelType: "gemma3", summary: "Gemma 3 with images: its text model", textModelType: "gemma3_text"),
        CombinedModel(
            modelType: "mistral3", summary: "Mistral Small 3.1 and Ministral 3 with images: their text model",
            textModelType: "mistral"),
        CombinedModel(
            modelType: "qwen3_5", summary: "Qwen3.5, dense, with images: its text model", textModelType: "qwen3_5_text"),
    ]

    /// The text model's part of the configuration, with its model_type.
    func text(of configuration: ModelConfiguration) throws -> (ModelConfiguration, modelType: String) {
        guard let text = try configuration.section("text_config") else {
            throw configuration.error(
                "text_config", found: "nothing", expected: "the text model's configuration",
                remedy:
                    "transformers would take every size from its own defaults; take config.json from the model's source."
            )
        }
        try check(configuration)
        return (text, try text.string("model_type", default: textModelType))
    }

    private func check(_ configuration: ModelConfiguration) throws {
        try configuration.refuseQuantised()
        let classes = try configuration.strings("architectures") ?? []
        let known = ["ForConditionalGeneration", "ForCausalLM"]
        if let name = classes.first, !known.contains(where: { name.hasSuffix($0) }) {
            throw configuration.error(
                "architectures", found: "'\(name)'", expected: "a class …\(known.joined(separator: ", …"))")
        }
    }
}
