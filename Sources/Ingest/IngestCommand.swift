import ArgumentParser
import Formats
import Foundation
import StageSupport

enum LogitsMode: String, ExpressibleByArgument, CaseIterable { case reference, copy, drop }

@main
enum IngestMain {
    static func main() { IngestCommand.runMain() }
}

/// Rollout shards → `ingest/`: every rollout checked, bad ones kept aside with their reason, logits located.
struct IngestCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "crux-ingest", abstract: "Checks rollout shards and lays them out as columnar files.", version: cruxVersion)
    static let stage = "ingest"

    @Option(name: .long, parsing: .upToNextOption, help: "Rollout shards, or folders of *.rollouts.zst.")
    var input: [String]

    @Option(help: "Directory to make.")
    var output: String

    @Option(help: "Dialect of the input: auto or one of \(IngestFormat.names).")
    var format = "auto"

    @Option(help: "What becomes of logits: reference (stay where they are), copy (into the output), drop.")
    var logits = LogitsMode.reference

    @OptionGroup var options: StageOptions

    func validate() throws {
        guard format == "auto" || IngestFormat(rawValue: format) != nil else {
            throw ValidationError("--format is '\(format)'; known: auto, \(IngestFormat.names).")
        }
    }

    func runStage(_ context: StageContext) throws -> StageSummary {
        let shards = try findShards(input)
        if options.dryRun { return StageSummary(["would_read": shards, "would_write": output]) }
        let plan = Manifest(stage: Self.stage, configuration: settings(shards), inputs: try digests(shards, context))
        switch try StageDirectory.open(output, for: plan, overwrite: options.overwrite) {
        case .done(let manifest):
            context.say("\(output) is finished already; nothing to do")
            return StageSummary(["output": output, "counts": manifest.counts, "already_done": true])
        case .work(let directory):
            return try IngestRun(directory: directory, shards: shards, logits: logits, context: context).run()
        }
    }

    private func settings(_ shards: [String]) -> [String: String] {
        var settings = ["format": format, "logits": logits.rawValue]
        // The place stands in the tables, so another one is another configuration.
        if logits == .reference {
            settings["folders"] = Set(shards.map { (absolutePath($0) as NSString).deletingLastPathComponent }).sorted().joined(separator: ":")
        }
        return settings
    }

    /// Digests of this task's shards and lengths of all: reading everything in every task would make sharing the work useless.
    private func digests(_ shards: [String], _ context: StageContext) throws -> [Manifest.File] {
        try parallelMap(shards.count, threads: context.threads) { index in
            // An unreadable shard costs that shard, not the run: it shows when its turn comes.
            guard let file = try? MappedFile(path: shards[index]) else { return Manifest.File(path: shards[index]) }
            let digest = options.share.owns(index) ? SHA256Digest.of(file) : nil
            return Manifest.File(path: shards[index], bytes: file.bytes.count, sha256: digest)
        }
    }
}

/// Input dialects.
enum IngestFormat: String, CaseIterable {
    case rollouts
    static var names: String { allCases.map(\.rawValue).joined(separator: ", ") }
}

func absolutePath(_ path: String) -> String { URL(fileURLWithPath: path).standardizedFileURL.path }

/// Files as given, folders as their *.rollouts.zst sorted by name; each file once.
func findShards(_ inputs: [String]) throws -> [String] {
    var found: [String] = [], seen = Set<String>()
    for input in inputs {
        for path in try expand(input) where seen.insert(absolutePath(path)).inserted { found.append(path) }
    }
    return found
}

private func expand(_ input: String) throws -> [String] {
    var isFolder: ObjCBool = false
    // What is not there counts as a shard that fails when its turn comes: the others need not wait for it.
    guard FileManager.default.fileExists(atPath: input, isDirectory: &isFolder) else { return [input] }
    guard isFolder.boolValue else { return [input] }
    let names = try FileManager.default.contentsOfDirectory(atPath: input).filter { $0.hasSuffix(".rollouts.zst") }.sorted()
    guard !names.isEmpty else {
        throw FormatError(file: input, place: "", found: "no *.rollouts.zst", expected: "at least one rollout shard", remedy: "Check --input.")
    }
    return names.map { input + (input.hasSuffix("/") ? "" : "/") + $0 }
}
