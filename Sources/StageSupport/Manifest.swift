import Formats
import Foundation

/// A file as a manifest names it.
package struct FileRecord: Codable, Equatable, Sendable {
    package var path: String
    /// nil for a volatile file: one whose bytes legitimately differ between equal runs (it holds wall-clock seconds).
    package var sha256: String?
    package var bytes: Int?
    /// Rows, for a table.
    package var rows: Int?

    package init(path: String, sha256: String? = nil, bytes: Int? = nil, rows: Int? = nil) {
        self.path = path
        self.sha256 = sha256
        self.bytes = bytes
        self.rows = rows
    }

    /// The record of a file as it is now, named `name` (its own path unless told).
    package init(of path: String, named name: String? = nil, rows: Int? = nil) throws {
        let file = try MappedFile(path: path)
        self.init(path: name ?? path, sha256: SHA256Digest.of(file.bytes), bytes: file.bytes.count, rows: rows)
    }

    /// True if the file is there with the recorded length and digest, as far as they were recorded.
    package func matches(in folder: String) -> Bool {
        guard let file = try? MappedFile(path: folder + "/" + path) else { return false }
        if let bytes, bytes != file.bytes.count { return false }
        return sha256 == nil || sha256 == SHA256Digest.of(file.bytes)
    }
}

/// What a finished stage directory says about itself; written last, so a directory with a valid manifest is whole.
package struct Manifest: Codable, Equatable, Sendable {
    package var stage: String
    package var version: String
    package var configuration: [String: JSONValue]
    package var inputs: [FileRecord]
    /// Paths relative to the directory.
    package var outputs: [FileRecord]
    package var counts: [String: JSONValue]

    package init(
        stage: String, configuration: [String: JSONValue], inputs: [FileRecord], outputs: [FileRecord] = [], counts: [String: JSONValue] = [:]
    ) {
        self.stage = stage
        version = CruxVersion.current
        self.configuration = configuration
        self.inputs = inputs
        self.outputs = outputs
        self.counts = counts
    }

    package static let fileName = "manifest.json"

    /// The manifest of `folder`; nil when there is none. Throws `FormatError` when it cannot be understood.
    package static func read(in folder: String) throws -> Manifest? {
        let path = folder + "/" + fileName
        guard let data = FileManager.default.contents(atPath: path) else { return nil }
        return try JSONValue.decode(Manifest.self, from: data, file: path)
    }

    package func write(in folder: String) throws {
        try AtomicFile.write(JSONValue.document(self), to: folder + "/" + Manifest.fileName)
    }

    /// SHA-256 of what the outputs depend on besides the inputs.
    package var configurationDigest: String { SHA256Digest.of(stage + "\n" + version + "\n" + JSONValue.line(configuration)) }

    /// The manifest of a stage's input directory. Throws `StageError` (invalid input) when the directory is missing, unfinished
    /// or made by another stage.
    package static func ofFinishedInput(_ folder: String, stage: String) throws -> Manifest {
        guard let manifest = try read(in: folder) else {
            throw StageError(.invalidInput, "\(folder): found no \(fileName), expected a finished \(stage) directory. Run \(stage) first, or again to finish it.")
        }
        guard manifest.stage == stage else {
            throw StageError(.invalidInput, "\(folder): found the output of \(manifest.stage), expected that of \(stage).")
        }
        return manifest
    }

    /// The metadata that every table of the stage carries. `inputs`: those this table was made from.
    package func tableMetadata(inputs: [FileRecord], evidence: String? = nil, recipeDigest: String? = nil) -> [String: String] {
        let digests = inputs.map { ($0.path.split(separator: "/").last.map(String.init) ?? $0.path, JSONValue.string($0.sha256 ?? "")) }
        var metadata = [
            "crux.stage": stage, "crux.version": version,
            "crux.inputs": JSONValue.object(Dictionary(digests, uniquingKeysWith: { $1 })).encoded(),
        ]
        metadata["crux.evidence"] = evidence
        metadata["crux.recipe_sha256"] = recipeDigest
        return metadata
    }
}
