import Files
import Foundation
import Models
import StageSupport
import Tensors

/// Where a model's weights come from. A checkpoint's folder stands for its files, as an engine loads them; an update
/// directory for what an update that is resumed from it starts with: its last step's float32 masters, or its adapters
/// on the weights that they stand on.
enum ModelSource {
    case files(Checkpoint)
    case masters(Checkpoint, Masters)
    case adapters(Checkpoint, SavedAdapters)

    /// `flag`: what the folder was given with, for messages.
    init(_ directory: String, as role: Checkpoint.Role, target: Bool, flag: String) throws {
        guard try StepFolders.isUpdate(directory) else {
            self = .files(try Checkpoint(directory: directory, as: role))
            return
        }
        let step = try StepFolders.last(in: directory), state = try step.state() ?? ""
        if try fileStatus(step.weights + "/" + SavedAdapters.configurationName) != nil {
            self = try Self.adapted(step.weights, flag)
            return
        }
        let weights = target ? directory + "/target" : step.weights
        if target, try !Folder.isFolder(weights) {
            throw StageError(
                .invalidInput,
                "\(directory): found no target network, expected an update with objective etpo_q for \(flag)")
        }
        let checkpoint = try Checkpoint(directory: weights, as: role)
        let masters = try Masters(path: state, prefix: target ? "target." : "master.")
        self = masters.isEmpty ? .files(checkpoint) : .masters(checkpoint, masters)
    }

    private static func adapted(_ folder: String, _ flag: String) throws -> ModelSource {
        let adapters = try SavedAdapters(directory: folder)
        guard try fileStatus(adapters.base + "/config.json") != nil else {
            throw StageError(
                .invalidInput,
                "\(flag): \(adapters.inputPaths[0]): found base_model_name_or_path '\(adapters.base)', where no "
                    + "checkpoint lies; expected the one "
                    + "that the adapters stand on. Put it there, or give the merged weights: \(folder)/merged")
        }
        return .adapters(try Checkpoint(directory: adapters.base), adapters)
    }

    var checkpoint: Checkpoint {
        switch self {
        case .files(let checkpoint), .masters(let checkpoint, _), .adapters(let checkpoint, _): checkpoint
        }
    }

    func model(threads: Int, halves: HalfProducts?) throws -> LanguageModel {
        switch self {
        case .files(let checkpoint):
            LanguageModel(checkpoint.architecture, try checkpoint.loadStanding(), threads: threads, halves: halves)
        case .masters(let checkpoint, let masters):
            LanguageModel(
                checkpoint.architecture, try checkpoint.loadStanding(masters), threads: threads, halves: halves)
        case .adapters(let checkpoint, let adapters):
            try adapters.model(on: checkpoint, threads: threads, halves: halves)
        }
    }

    /// Adapters stand on linear layers of the decoder, never on the head.
    func head(threads: Int, halves: HalfProducts?) throws -> HeadModel {
        guard case .masters(let checkpoint, let masters) = self else {
            return try HeadModel(checkpoint, threads: threads, halves: halves)
        }
        return try HeadModel(checkpoint, masters: masters, threads: threads, halves: halves)
    }

    var inputPaths: [String] {
        switch self {
        case .files(let checkpoint): checkpoint.inputPaths
        case .masters(let checkpoint, let masters): checkpoint.inputPaths + [masters.file.path]
        case .adapters(let checkpoint, let adapters): checkpoint.inputPaths + adapters.inputPaths
        }
    }

    /// For machines.
    var kind: String {
        switch self {
        case .files: "files"
        case .masters: "masters"
        case .adapters: "adapters"
        }
    }

    /// A line for the user, where there was a choice between a step's files and its masters.
    func note(_ directory: String, _ name: String) throws -> String? {
        switch self {
        case .masters(let checkpoint, _):
            return
                "\(name): the float32 masters of \(checkpoint.directory), which an update resumed from \(directory) "
                + "starts with"
        case .adapters(let checkpoint, let adapters):
            return "\(name): \(checkpoint.directory) under the adapters of \(adapters.directory), in float32"
        case .files(let checkpoint):
            guard checkpoint.needsMasters, let step = StepFolders(weights: directory), let state = try step.state(),
                try !Masters(path: state).isEmpty
            else { return nil }
            return
                "\(name): the 16-bit files of \(directory), as an engine loads them. An update that is "
                + "resumed from \(step.directory) starts with the "
                + "float32 masters beside them: give \(step.directory) to score by those"
        }
    }
}
