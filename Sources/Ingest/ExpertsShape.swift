import ArgumentParser
import Files
import Formats
import Foundation

/// `--routed-experts 48x8`: recorded layers and experts of each token, which SGLang's responses don't say.
struct ExpertsShape: ExpressibleByArgument, Equatable, Sendable {
    let layers: Int
    let perToken: Int

    init?(argument: String) {
        let parts = argument.split(separator: "x", omittingEmptySubsequences: false).map { Int($0) }
        guard parts.count == 2, let layers = parts[0], let perToken = parts[1],
            (1...RoutedExperts.most).contains(layers), (1...RoutedExperts.most).contains(perToken)
        else { return nil }
        (self.layers, self.perToken) = (layers, perToken)
    }

    var text: String { "\(layers)x\(perToken)" }

    /// Of the checkpoint in a folder: SGLang records all layers. nil where it has no experts, or no config.json.
    init?(checkpoint folder: String) throws {
        guard let config = try readFile(folder + "/config.json", upTo: 1 << 24).flatMap({ JSONLine($0).object }) else {
            return nil
        }
        let text = config["text_config"]?.object ?? config
        let names = ["num_experts_per_tok", "experts_per_token", "num_experts_per_token", "moe_topk", "top_k_experts"]
        guard let layers = text["num_hidden_layers"]?.int,
            let perToken = names.lazy.compactMap({ text[$0]?.int }).first, layers > 0, perToken > 0
        else { return nil }
        (self.layers, self.perToken) = (layers, perToken)
    }
}
