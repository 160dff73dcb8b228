import Files
import Formats
import Foundation
import StageSupport

/// Files of logits, each found and mapped when the first thread asks for it, and until they are let go of.
final class DumpFiles: @unchecked Sendable {
    private let ingest: String
    /// What ingest read, and what it wrote: tables may point at nothing else.
    private let inputs: [Manifest.File]
    private let outputs: [Manifest.File]
    private let lock = NSLock()
    private var files: [String: MappedFile] = [:]
    /// Where files lie that were found before.
    private var found: [String: String] = [:]

    /// `manifest`: of the ingest directory.
    init(ingest: String, _ manifest: Manifest) {
        (self.ingest, inputs, outputs) = (ingest, manifest.inputs, manifest.outputs)
    }

    /// `path` as the column `logits_path` has it.
    func file(_ path: String) throws -> MappedFile {
        try lock.withLock {
            if let file = files[path] { return file }
            let file = try found[path].map(MappedFile.init) ?? open(path)
            (files[path], found[path]) = (file, file.path)
            return file
        }
    }

    /// Gives their mappings back: what is asked for next lies in other files mostly.
    func letGo() { lock.withLock { files = [:] } }

    private func open(_ path: String) throws -> MappedFile {
        let candidates = LogitsPath.candidates(path, in: ingest)
        if try fileExists(candidates[0]) {
            let file = try MappedFile(path: candidates[0])
            try requireListed(file)
            return file
        }
        // A dump that was moved together with the run: the same file by its digest, not by its name.
        for candidate in candidates.dropFirst() where try fileExists(candidate) {
            let file = try MappedFile(path: candidate)
            if isKnown(file) { return file }
        }
        throw FormatError(
            file: candidates[0], place: "", found: "no such file", expected: "the shard that \(ingest) refers to",
            remedy:
                "Put the dump back, move it together with the run, or ingest it where it lies now (--logits copy keeps the logits in the run)."
        )
    }

    /// By name and length: a table that somebody has changed leads to no file of his choice. What stands in it is checked
    /// where it is decoded.
    private func requireListed(_ file: MappedFile) throws {
        let name = (file.path as NSString).lastPathComponent, bytes = file.bytes.count
        let isListed = (inputs + outputs).contains {
            ($0.path as NSString).lastPathComponent == name && ($0.bytes ?? bytes) == bytes
        }
        guard !isListed else { return }
        throw FormatError(
            file: file.path, place: "",
            found: "a file of \(bytes) bytes that is none of those which \(ingest) was made of",
            expected: "one that \(ingest)/\(Manifest.name) lists, with the length that it has there",
            remedy: "Put the dump back as it was, or run crux-ingest again.")
    }

    private func isKnown(_ file: MappedFile) -> Bool {
        let name = (file.path as NSString).lastPathComponent
        return inputs.contains { ($0.path as NSString).lastPathComponent == name && $0.isContent(of: file) }
    }
}
