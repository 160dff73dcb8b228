import Arrow
import Files
import Formats
import Foundation

/// Holds what a stage reads against what its other inputs were made from, by digest: places and ids may agree by
/// chance.
package enum Lineage {
    /// Throws (3) unless the finished directory `made` was made from the finished directory `source`. `remedy`: the
    /// command that mends it.
    package static func require(_ made: String, _ manifest: Manifest, madeFrom source: String, remedy: String) throws {
        try require(made, manifest, madeFromFile: source + "/" + Manifest.name, what: source, remedy: remedy)
    }

    /// The same of a single file.
    package static func require(
        _ made: String, _ manifest: Manifest, madeFromFile file: String, what: String, remedy: String
    ) throws {
        let digest = try SHA256Digest.ofFile(file), name = (file as NSString).lastPathComponent
        let known = manifest.inputs.filter { $0.fileName == name }
        guard !known.contains(where: { $0.sha256 == digest }) else { return }
        let found = known.compactMap(\.sha256).map { $0.prefix(12) + "…" }.joined(separator: " or ")
        throw StageError(
            .invalidInput,
            "\(made): found it made from another \(what) (\(name) with SHA-256 \(found.isEmpty ? "unknown" : found)), "
                + "expected the one given (\(digest.prefix(12))…). \(remedy)")
    }

    /// Whether a manifest knows a digest among its inputs or outputs.
    package static func knows(_ manifest: Manifest, _ digest: String) -> Bool {
        (manifest.inputs + manifest.outputs).contains { $0.sha256 == digest }
    }
}

extension JobDirectory {
    /// Jobs and bases, by digest.
    package func inputFiles() throws -> [Manifest.File] {
        try [Self.jobsName, Self.basesName].map { try .input("jobs", path + "/" + $0) }
    }

    /// Throws (3) where the bases aren't those that the jobs were made from. Jobs of earlier versions don't say.
    package func requireOneMaking() throws {
        let jobs = try ArrowTableReader(path: path + "/" + Self.jobsName, table: Tables.jobs).metadata
        guard let wanted = jobs[Self.basesKey], wanted != (try SHA256Digest.ofFile(path + "/" + Self.basesName)) else {
            return
        }
        throw FormatError(
            file: path + "/" + Self.basesName, place: "",
            found: "bases of another plan than \(Self.jobsName) beside it",
            expected: "the two as crux-plan wrote them together",
            remedy: "Give the jobs folder as crux-plan made it, or plan the jobs again.")
    }

    /// Metadata key of jobs.arrow: the digest of the bases.
    package static let basesKey = "crux.bases_sha256"
}
