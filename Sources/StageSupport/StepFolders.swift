import Files
import Foundation

/// A saved step of an update directory: `step-000007/`, a plain Hugging Face folder, and beside it `optimizer-000007/`,
/// what going on from it takes. The step counts only where both are there: the optimizer's folder takes its name first.
package struct StepFolders: Equatable, Sendable {
    /// The update directory.
    package let directory: String
    /// Optimizer steps done, from 1.
    package let step: Int

    package init(directory: String, step: Int) { (self.directory, self.step) = (directory, step) }

    package static func name(_ step: Int) -> String { String(format: "step-%06d", step) }
    package static func optimizerName(_ step: Int) -> String { String(format: "optimizer-%06d", step) }
    package static func deltaName(_ step: Int) -> String { String(format: "delta-%06d", step) }
    /// The file with moments, masters and target network, in either place.
    package static let stateName = "optimizer.safetensors"

    /// The checkpoint, or the adapters.
    package var weights: String { directory + "/" + Self.name(step) }
    package var optimizer: String { directory + "/" + Self.optimizerName(step) }
    /// What its weights have otherwise than those that the update began with, where that was asked for.
    package var delta: String { directory + "/" + Self.deltaName(step) }

    /// Moments and masters; nil where they are missing. Earlier versions put them among the weights.
    package func state() throws -> String? {
        try [optimizer, weights].map { $0 + "/" + Self.stateName }.first { try fileStatus($0) != nil }
    }

    /// True of a step that an earlier version saved.
    package func holdsStateAmongWeights() throws -> Bool { try state() == weights + "/" + Self.stateName }

    /// Every step folder, oldest first, with its optimizer or without.
    package static func all(in directory: String) throws -> [StepFolders] {
        try Folder.names(directory).compactMap { entry in
            guard entry.hasPrefix("step-"), let step = Int(entry.dropFirst(5)), entry == name(step) else { return nil }
            return StepFolders(directory: directory, step: step)
        }.sorted { $0.step < $1.step }
    }

    /// Those that can be gone on from, oldest first.
    package static func whole(in directory: String) throws -> [StepFolders] {
        try all(in: directory).filter { try $0.state() != nil }
    }

    /// Whether a folder is an update directory, and not a checkpoint.
    package static func isUpdate(_ directory: String) throws -> Bool { try Manifest.read(directory)?.stage == "update" }

    /// The step that a folder of weights belongs to, where it is a step's own.
    package init?(weights path: String) {
        let path = path.hasSuffix("/") ? String(path.dropLast()) : path, name = (path as NSString).lastPathComponent
        guard name.hasPrefix("step-"), let step = Int(name.dropFirst(5)), name == Self.name(step) else { return nil }
        let directory = parentFolder(path)
        self.init(directory: directory.isEmpty ? "." : directory, step: step)
    }

    /// The newest step of a finished update directory. Never an older one in place of one that lacks its optimizer.
    package static func last(in directory: String) throws -> StepFolders {
        _ = try Manifest.finished(directory, stage: "update")
        guard let last = try all(in: directory).last else {
            throw StageError(
                .invalidInput,
                "\(directory): found no step directory, expected a finished update with at least one step")
        }
        guard try last.state() != nil else {
            throw StageError(
                .invalidInput,
                "\(last.optimizer)/\(stateName): no such file, expected the moments and masters of \(name(last.step)). "
                    + "Copy it back, or begin with new moments: --checkpoint \(last.weights) without --resume-from.")
        }
        return last
    }
}
