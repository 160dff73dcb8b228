import Files
import Formats

/// Some of Mistral's published tokenizer.json files split by another pattern than the models were trained with
/// (huggingface/transformers#42299). The file is followed, as engines follow it; but it is said.
enum MistralPattern {
    private static let models = ["ministral", "ministral3", "mistral", "mistral3", "pixtral", "voxtral"]
    /// Tekken's, as Mistral's own library has it.
    private static let right =
        #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?"#
        + #"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"#

    /// nil where nothing speaks against the file.
    static func note(_ root: TokenizerNode, folder: String) throws -> String? {
        let path = folder + "/config.json"
        guard try fileExists(path) else { return nil }
        let config = TokenizerNode(file: path, place: "", value: try JSONValue(file: path, expected: "a JSON object"))
        guard let model = config["model_type"].string, models.contains(model) else { return nil }
        let steps = root["pre_tokenizer"]["pretokenizers"].list
        guard let pattern = steps.first?["pattern"]["Regex"].string, pattern != right,
            steps.contains(where: { $0["type"].string == ByteLevelSplit.name })
        else { return nil }
        return "tokenizer.json splits text by another pattern than Mistral's models were trained with "
            + "(huggingface/transformers#42299): the file is followed; save it with fix_mistral_regex=True to mend it"
    }
}
