import Files
import Formats
import Foundation
import Tensors

/// Adapters in a PEFT folder, and the checkpoint that they stand on.
package struct SavedAdapters: Sendable {
    package static let weightsName = "adapter_model.safetensors"
    package static let configurationName = "adapter_config.json"

    private static let largestRank = 1 << 16

    package let directory: String
    /// As adapter_config.json names it: where it lay when the adapters were made.
    package let base: String
    private let rank: Int
    private let alpha: Double
    private let targets: [String]

    package init(directory: String) throws {
        self.directory = directory
        let path = directory + "/" + Self.configurationName
        guard let data = try readFile(path) else {
            throw FormatError(file: path, place: "", found: "no such file", expected: "the adapters' configuration")
        }
        let configuration = try ModelConfiguration(json: data, path: path)
        base = ModelFolder.path(try configuration.string("base_model_name_or_path"))
        (rank, alpha) = (try configuration.size("r"), try configuration.double("lora_alpha"))
        targets = try configuration.strings("target_modules") ?? []
        guard rank <= Self.largestRank else {
            throw configuration.error("r", found: "\(rank)", expected: "at most \(Self.largestRank)")
        }
    }

    package var inputPaths: [String] { [Self.configurationName, Self.weightsName].map { directory + "/" + $0 } }

    /// The base's weights, which stay as they are stored, under the adapters.
    package func model(on checkpoint: Checkpoint, threads: Int, halves: HalfProducts? = nil) throws -> LanguageModel {
        let base = LanguageModel(
            checkpoint.architecture, try checkpoint.loadStanding(), threads: threads, halves: halves)
        let known = checkpoint.architecture.adaptable
        if let target = targets.first(where: { !known.contains($0) }) {
            throw FormatError(
                file: directory + "/" + Self.configurationName, place: "key target_modules", found: "'\(target)'",
                expected: "some of \(known.joined(separator: ", ")), which the base's layers have",
                remedy: "Adapters on other layers would be left out of the computation; merge them into the base first."
            )
        }
        let training = LowRankTraining(base, rank: rank, alpha: alpha, targets: targets, seed: 0)
        let adapters = try Masters(path: directory + "/" + Self.weightsName, prefix: "")
        for parameter in training.layout.parameters {
            guard try adapters.load(parameter, to: training.parameters.pointer + parameter.range.lowerBound) else {
                throw FormatError(
                    file: adapters.file.path, place: "", found: "no tensor '\(parameter.name)'",
                    expected: "it, of shape \(parameter.shape), by \(Self.configurationName)")
            }
        }
        return training.model
    }
}
