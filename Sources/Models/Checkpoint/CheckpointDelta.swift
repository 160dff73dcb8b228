import Files
import Formats
import Foundation

/// A folder with a `SafetensorsDelta` for each of a checkpoint's files of weights, by the same names: what a trained
/// checkpoint has otherwise than the one that training began with. Configuration and tokenizer are the same in both.
package struct CheckpointDelta {
    package let directory: String

    package init(directory: String) { self.directory = directory }

    /// Writes into the folder what the checkpoint in `result`, saved as `base` is, has otherwise.
    package func write(from base: Checkpoint, to result: String) throws {
        for path in base.weightPaths {
            let name = (path as NSString).lastPathComponent
            try SafetensorsDelta.write(
                from: try SafetensorsFile(path: path), to: try SafetensorsFile(path: result + "/" + name),
                at: directory + "/" + name)
        }
    }

    /// Elements that differ, and all of the checkpoint's.
    package func count(of base: Checkpoint) throws -> SafetensorsDelta.Count {
        var count = SafetensorsDelta.Count()
        for path in base.weightPaths {
            count += try SafetensorsDelta(path: delta(of: path)).count(of: try SafetensorsFile(path: path))
        }
        return count
    }

    /// Bytes of its files.
    package func bytes(of base: Checkpoint) throws -> Int {
        try base.weightPaths.reduce(0) { try $0 + Int(fileStatus(delta(of: $1))?.st_size ?? 0) }
    }

    /// Writes into `folder` the checkpoint that this is the difference to, with all that lies beside the weights.
    package func apply(to base: Checkpoint, writing folder: String) throws {
        try requireFiles(of: base)
        for path in base.weightPaths {
            let name = (path as NSString).lastPathComponent
            try SafetensorsDelta(path: delta(of: path)).apply(
                to: try SafetensorsFile(path: path), writing: folder + "/" + name)
        }
        try base.copyRest(to: folder)
    }

    /// Whether the folder's weights are what applying the delta would write.
    package func isApplied(to base: Checkpoint, in folder: String) throws -> Bool {
        try base.weightPaths.allSatisfy { path in
            let made = folder + "/" + (path as NSString).lastPathComponent
            guard try fileExists(made) else { return false }
            return try SHA256Digest.ofFile(made) == SafetensorsDelta(path: delta(of: path)).result
        }
    }

    private func delta(of path: String) -> String { directory + "/" + (path as NSString).lastPathComponent }

    private func requireFiles(of base: Checkpoint) throws {
        let found = Set(try Folder.names(directory).filter { $0.hasSuffix(".safetensors") }),
            expected = Set(base.weightPaths.map { ($0 as NSString).lastPathComponent })
        guard found != expected else { return }
        func list(_ names: Set<String>) -> String {
            names.isEmpty ? "none" : names.sorted().prefix(4).joined(separator: ", ")
        }
        throw FormatError(
            file: directory, place: "", found: "files of weights \(list(found))",
            expected: "\(list(expected)), those of \(base.directory)",
            remedy: "Give the delta-NNNNNN folder of an update that began with this checkpoint.")
    }
}
