import Files
import Foundation

/// The last file that a stage writes: without it a directory is unfinished. It says what went in, what came out and
/// under which configuration, and nothing that another run of the same command would say otherwise.
package struct Manifest: Codable, Equatable, Sendable {
    package struct File: Codable, Equatable, Sendable {
        package var path: String
        package var bytes: Int?
        /// Absent where the content carries wall-clock times and so differs between runs.
        package var sha256: String?
        /// In its place for large inputs: `PiecewiseDigest`.
        package var xxh128Pieces: String?
        package var rows: Int?

        private enum CodingKeys: String, CodingKey {
            case path, bytes, sha256, rows
            case xxh128Pieces = "xxh128_pieces"
        }

        package init(
            path: String, bytes: Int? = nil, sha256: String? = nil, xxh128Pieces: String? = nil, rows: Int? = nil
        ) {
            (self.path, self.bytes, self.rows) = (path, bytes, rows)
            (self.sha256, self.xxh128Pieces) = (sha256, xxh128Pieces)
        }

        /// Whether it is a file within the directory that lists it, of a size and a length that files can have.
        fileprivate var isInside: Bool {
            path.split(separator: "/", omittingEmptySubsequences: false).allSatisfy { !["", ".", ".."].contains($0) }
                && !path.utf8.contains(0) && (bytes ?? 0) >= 0 && (rows ?? 0) >= 0
        }

        /// Of a file that its writer knows.
        package init(_ path: String, _ written: WrittenFile, rows: Int? = nil) {
            self.init(path: path, bytes: written.bytes, sha256: written.sha256, rows: rows ?? written.rows)
        }

        /// An input, by what it is to the run and its name: not by where it lies, so that a manifest's bytes don't
        /// depend on that.
        package static func input(_ role: String, _ path: String, bytes: Int? = nil, sha256: String?) -> File {
            File(path: role + "/" + (path as NSString).lastPathComponent, bytes: bytes, sha256: sha256)
        }

        /// The same, with its digest. Whatever lies under its name later in this run is refused unless it is the same.
        package static func input(_ role: String, _ path: String) throws -> File {
            let file = try MappedFile(path: path)
            file.noteDigest()
            return input(role, path, sha256: SHA256Digest.of(file))
        }

        /// Without the role, or the folder that earlier versions wrote there.
        var fileName: String { (path as NSString).lastPathComponent }

        /// An input as it lies there now, with the digest that files of its length have. Threads take it together.
        package static func input(_ role: String, _ path: String, _ file: MappedFile, threads: Int) throws -> File {
            file.noteDigest()
            var described = input(role, path, bytes: file.bytes.count, sha256: nil)
            if file.bytes.count < PiecewiseDigest.largeFileBytes {
                described.sha256 = SHA256Digest.of(file)
            } else {
                described.xxh128Pieces = try piecewise(file, threads: threads)
            }
            return described
        }

        private static func piecewise(_ file: MappedFile, threads: Int) throws -> String {
            PiecewiseDigest.joined(
                try parallelMap(PiecewiseDigest.pieceCount(file), threads: threads) {
                    PiecewiseDigest.piece($0, of: file)
                })
        }

        /// What tells its content from others', where that is known.
        package var digest: String? { sha256 ?? xxh128Pieces }

        /// For messages.
        var identity: String {
            sha256.map { "SHA-256 \($0.prefix(12))…" } ?? xxh128Pieces.map { "XXH3-128 by pieces \($0.prefix(12))…" }
                ?? bytes.map { "\($0) bytes" } ?? "unreadable"
        }

        /// Whether a file has this content. False where no digest tells.
        package func isContent(of file: MappedFile) -> Bool {
            if let bytes, bytes != file.bytes.count { return false }
            if let sha256 { return sha256 == SHA256Digest.of(file) }
            return xxh128Pieces == PiecewiseDigest.of(file)
        }

        /// Same content as far as both sides know it; where no digest says so, the name must be the same.
        func mayEqual(_ other: File) -> Bool {
            if let bytes, let others = other.bytes, bytes != others { return false }
            if let sha256, let others = other.sha256 { return sha256 == others }
            if let xxh128Pieces, let others = other.xxh128Pieces { return xxh128Pieces == others }
            return fileName == other.fileName
        }
    }

    package var stage: String
    package var version = cruxVersion
    package var configuration: [String: String]
    package var inputs: [File]
    package var outputs: [File] = []
    package var counts: [String: Int] = [:]
    /// Figures that are no counts, such as a mean.
    package var measures: [String: Double]?

    package init(stage: String, configuration: [String: String], inputs: [File]) {
        self.stage = stage
        self.configuration = configuration
        self.inputs = inputs
    }

    package static let name = "manifest.json"

    package func encoded() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(self), as: UTF8.self) + "\n"
    }

    package func write(to directory: String) throws {
        try AtomicFile.write(try encoded(), to: directory + "/" + Self.name)
    }

    /// nil where there is none.
    package static func read(_ directory: String) throws -> Manifest? {
        let path = directory + "/" + name
        guard let data = try readFile(path) else { return nil }
        guard let manifest = try? JSONDecoder().decode(Manifest.self, from: data) else {
            throw damaged(path, "a damaged manifest", "JSON as a stage writes it")
        }
        if let stray = manifest.outputs.first(where: { !$0.isInside }) {
            throw damaged(path, "the output '\(stray.path)' of \(stray.bytes ?? 0) bytes", "files within the directory")
        }
        return manifest
    }

    private static func damaged(_ path: String, _ found: String, _ expected: String) -> FormatError {
        FormatError(
            file: path, place: "", found: found, expected: expected,
            remedy: "Remove the directory and run the stage again.")
    }

    /// The finished directory of an earlier stage; an error where it is missing, unfinished or another stage's.
    package static func finished(_ directory: String, stage: String) throws -> Manifest {
        guard try fileStatus(directory) != nil else {
            throw StageError(.invalidInput, "\(directory): no such directory; crux-\(stage) makes it")
        }
        guard let manifest = try read(directory) else {
            throw StageError(
                .invalidInput,
                "\(directory): found no manifest.json, expected a finished crux-\(stage) directory. Run crux-\(stage) again; it goes on where it stopped."
            )
        }
        guard manifest.stage == stage else {
            throw StageError(
                .invalidInput,
                "\(directory): found a directory of crux-\(manifest.stage), expected one of crux-\(stage)")
        }
        return manifest
    }

    /// A stage's manifest as an input of the next stage: one digest that covers all it lists.
    package static func asInput(_ directory: String, stage: String) throws -> File {
        try .input(stage, directory + "/" + name)
    }

    /// Digest, size and rows of a file in a stage directory.
    package static func describe(_ name: String, in directory: String, rows: Int? = nil) throws -> File {
        let mapped = try MappedFile(path: directory + "/" + name)
        return File(path: name, bytes: mapped.bytes.count, sha256: SHA256Digest.of(mapped), rows: rows)
    }
}
