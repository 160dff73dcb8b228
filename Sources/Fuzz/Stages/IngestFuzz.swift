import Formats
import Foundation

@testable import Ingest

/// A dump whose rollouts are changed before they are compressed, and lines of other programs.
final class IngestFuzz: FuzzTarget {
    static let name = "stage-ingest", subject = "crux-ingest on changed rollouts and lines"
    private let folder: String
    private let original: [String: [UInt8]]

    init(folder: String) throws {
        self.folder = folder
        var files: [String: [UInt8]] = [:]
        for (index, blob) in try TinyDump.blobs().enumerated() { files["\(index)"] = blob }
        for dialect in ["openai", "prime_rl", "sglang", "verl"] {
            let lines = try Data(contentsOf: URL(fileURLWithPath: fixture("fuzz/stage-ingest-lines/\(dialect).jsonl")))
            files[dialect + ".jsonl"] = Array(lines)
        }
        original = files
    }

    func run(_ bytes: UnsafeRawBufferPointer) throws {
        let (choice, rest) = bytes.choice
        var files = original, edits = Edits(rest)
        edits.apply(to: &files)
        let dump = folder + "/dump", output = folder + "/out"
        defer { for path in [dump, output] { try? FileManager.default.removeItem(atPath: path) } }
        try FileManager.default.createDirectory(atPath: dump, withIntermediateDirectories: true)
        let writer = try RolloutShardWriter(path: dump + "/shard.rollouts.zst")
        for index in original.keys.sorted() where Int(index) != nil {
            if let blob = files[index] { try writer.append(blob: blob) }
        }
        try writer.finish()
        for (name, lines) in files where name.hasSuffix(".jsonl") {
            try lines.withUnsafeBytes { try $0.write(to: dump + "/" + name) }
        }
        let more = [[], ["--score"], ["--logits", "copy"], ["--logits", "drop"]][choice % 4]
        try runStage(IngestCommand.self, ["--input", dump, "--output", output] + more)
    }
}
