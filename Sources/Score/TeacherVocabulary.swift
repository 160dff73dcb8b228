import Files
import Formats
import Foundation
import StageSupport

/// A teacher's token ids must mean what the dump's do: its tokenizer.json is held against those that are known to have
/// made the dump's tokens, byte by byte. A vocabulary of the same size may still be another.
struct TeacherVocabulary {
    private let teacher: ScoringModel?
    /// Tokenizers of the dump: where each lies, and its digest.
    private let known: [(place: String, digest: String)]

    private static let name = "tokenizer.json"

    /// `ingest`: of the folder `input`.
    init(_ policies: ScoringModels, _ input: String, _ ingest: Manifest) throws {
        teacher = policies.teacher
        guard teacher != nil else {
            known = []
            return
        }
        // What ingest tokenised texts with, and what the policy that samples has beside it.
        let read = ingest.inputs.compactMap { file -> (place: String, digest: String)? in
            guard (file.path as NSString).lastPathComponent == Self.name, let digest = file.sha256 else { return nil }
            return (place: "\(file.path), by which \(input) was made", digest: digest)
        }
        let beside = try policies.checkpoint.flatMap { try Self.digest(of: $0) }
        known = read + [beside].compactMap { $0 }
    }

    private static func digest(of model: ScoringModel) throws -> (place: String, digest: String)? {
        let path = model.source.checkpoint.directory + "/" + name
        return try fileExists(path) ? (path, SHA256Digest.ofFile(path)) : nil
    }

    func check(_ context: StageContext) throws {
        guard let teacher else { return }
        guard let own = try Self.digest(of: teacher), !known.isEmpty else {
            context.warn(
                "whether \(teacher.directory) has the vocabulary of the dump is not known: "
                    + (known.isEmpty
                        ? "neither --checkpoint nor the dump says by which tokenizer.json it was made"
                        : "it has no tokenizer.json"))
            return
        }
        guard let other = known.first(where: { $0.digest != own.digest }) else { return }
        throw StageError(
            .invalidInput,
            "\(own.place): found digest \(own.digest.prefix(12)), expected \(other.digest.prefix(12)), that of \(other.place): "
                + "a teacher of another vocabulary says nothing of the dump's tokens")
    }
}
