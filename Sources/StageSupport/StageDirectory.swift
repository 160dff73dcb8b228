import Formats
import Foundation
import Scratch

/// A stage's output directory: finished, half-way, or of another configuration.
package struct StageDirectory: Sendable {
    package let path: String
    /// What the run is about to make, without outputs.
    package let plan: Manifest
    /// Remembers finished pieces until the manifest takes over.
    package var workPath: String { path + "/.work" }

    package enum State { case done(Manifest), work(StageDirectory) }

    /// Opens or makes the directory for `plan`. A directory made from something else is refused (exit 5) unless
    /// `overwrite`, which empties it of what stages write.
    package static func open(_ path: String, for plan: Manifest, overwrite: Bool) throws -> State {
        let directory = StageDirectory(path: path, plan: plan)
        if overwrite { try directory.clear() }
        if let manifest = try Manifest.read(path) {
            try directory.requireSame(manifest)
            if try manifest.outputs.allSatisfy(directory.isInPlace) {
                // Whoever wrote it may have failed to, as the last thing.
                try syncFolder(of: path + "/" + Manifest.name)
                try directory.removeWork()
                return .done(manifest)
            }
            try directory.remove(Manifest.name)
        }
        try Folder.create(path)
        try Folder.create(directory.workPath)
        try directory.claim()
        return .work(directory)
    }

    /// Makes a finished directory unfinished again, to go on with it.
    package static func reopen(_ path: String, for plan: Manifest) throws -> StageDirectory {
        let directory = StageDirectory(path: path, plan: plan)
        try directory.remove(Manifest.name)
        try Folder.create(directory.workPath)
        try directory.claim()
        return directory
    }

    package func file(_ name: String) -> String { path + "/" + name }

    /// Only one task at a time: whoever comes second finds the manifest and need not repeat the work.
    package func exclusively<T>(_ body: () throws -> T) throws -> T {
        let descriptor = uninterrupted { Foundation.open(path, O_RDONLY | O_CLOEXEC) }
        guard descriptor >= 0 else { throw IOError.fromErrno(path, "open the directory to lock it") }
        defer { close(descriptor) }
        guard uninterrupted({ flock(descriptor, LOCK_EX) }) == 0 else { throw IOError.fromErrno(path, "lock the directory") }
        return try body()
    }

    /// Writes the manifest, last of all, and forgets the pieces.
    /// `inputs`: those of the plan where it knew all their digests.
    package func finish(
        inputs: [Manifest.File]? = nil, outputs: [Manifest.File], counts: [String: Int], measures: [String: Double]? = nil
    ) throws -> Manifest {
        var manifest = plan
        manifest.inputs = inputs ?? plan.inputs
        manifest.outputs = outputs
        manifest.counts = counts
        manifest.measures = measures
        try manifest.write(to: path)
        try removeWork()
        return manifest
    }

    /// Arrow metadata that every table of this stage carries. `inputs`: those of this table, else all of the stage.
    package func tableMetadata(inputs: [Manifest.File]? = nil, recipeDigest: String = "", evidence: [String] = []) -> [String: String] {
        let digests = (inputs ?? plan.inputs).compactMap(\.sha256)
        return [
            "crux.stage": plan.stage, "crux.version": plan.version, "crux.inputs": digests.joined(separator: " "),
            "crux.recipe_sha256": recipeDigest, "crux.evidence": evidence.joined(separator: " "),
        ]
    }

    private var claimPath: String { workPath + "/configuration.json" }

    /// An unfinished directory remembers what it is being made from, so that another configuration can't go on with it.
    private func claim() throws {
        if let data = try readFile(claimPath), let earlier = try? JSONDecoder().decode(Manifest.self, from: data) {
            return try requireSame(earlier)
        }
        try AtomicFile.write(try plan.encoded(), to: claimPath)
    }

    private func requireSame(_ earlier: Manifest) throws {
        let differences = differences(earlier)
        guard !differences.isEmpty else { return }
        throw StageError(
            .otherConfiguration,
            "\(path): made with another configuration (\(differences.joined(separator: "; "))). Choose another --output, or --overwrite.")
    }

    /// By length alone: an output that someone cut off or deleted is made again; digests are for who uses it.
    private func isInPlace(_ output: Manifest.File) throws -> Bool {
        guard let status = try fileStatus(file(output.path)) else { return false }
        return output.bytes == nil || output.bytes == Int(status.st_size)
    }

    private func differences(_ earlier: Manifest) -> [String] {
        guard earlier.stage == plan.stage else { return ["it is a directory of crux-\(earlier.stage)"] }
        var found = Set(earlier.configuration.keys).union(plan.configuration.keys).sorted().compactMap { key -> String? in
            let (old, new) = (earlier.configuration[key], plan.configuration[key])
            return old == new ? nil : "\(key) was \(old ?? "unset"), now \(new ?? "unset")"
        }
        if earlier.version != plan.version { found.append("version was \(earlier.version), now \(plan.version)") }
        return found + inputDifferences(earlier)
    }

    private func inputDifferences(_ earlier: Manifest) -> [String] {
        guard earlier.inputs.count == plan.inputs.count else { return ["it had \(earlier.inputs.count) input files, now \(plan.inputs.count)"] }
        return zip(earlier.inputs, plan.inputs).filter { !$0.mayEqual($1) }.map { "input \($1.path) is not what it was" }
    }

    /// The manifest goes first: from then on the directory counts as unfinished.
    private func clear() throws {
        guard try fileStatus(path) != nil else { return }
        guard try Manifest.read(path) != nil || fileStatus(claimPath) != nil || Folder.names(path).isEmpty else {
            throw StageError(.otherConfiguration, "\(path): --overwrite empties only directories that a stage made; this one is not. Choose another --output.")
        }
        try remove(Manifest.name)
        for name in try Folder.names(path) where Self.isOurs(name) { try remove(name) }
    }

    /// What stages write; anything else in the directory is somebody's own and stays.
    private static func isOurs(_ name: String) -> Bool {
        [".arrow", ".rollouts.zst", AtomicFile.temporarySuffix].contains { name.hasSuffix($0) }
            || ["step-", "optimizer-", "iteration-"].contains { name.hasPrefix($0) }
            || [".work", "recipe.resolved.json", "jobs", "missing.jsonl", "metrics.csv", "curves.svg", "target"].contains(name)
    }

    private func removeWork() throws { try remove(".work") }

    private func remove(_ name: String) throws { try Folder.remove(file(name)) }
}
