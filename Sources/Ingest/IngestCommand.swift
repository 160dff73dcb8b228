import ArgumentParser
import Formats
import Foundation
import StageSupport
import Tokenizer

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

    @Option(help: "Jobs folder of crux-plan: joins results of its jobs (shards or JSON lines) to their prefixes.")
    var jobs: String?

    @Option(help: "Checkpoint folder (or tokenizer.json), for results that come as text.")
    var tokenizer: String?

    @Option(help: "What becomes of logits: reference (stay where they are), copy (into the output, 16-bit ones with their bytes apart), drop.")
    var logits = LogitsMode.reference

    @OptionGroup var memory: MemoryOption

    @OptionGroup var options: StageOptions

    func validate() throws {
        guard format == "auto" || IngestFormat(rawValue: format) != nil else {
            throw ValidationError("--format is '\(format)'; known: auto, \(IngestFormat.names).")
        }
    }

    func runStage(_ context: StageContext) throws -> StageSummary {
        let shards = try findShards(input)
        if options.dryRun { return StageSummary(["would_read": shards, "would_write": output]) }
        if let jobs { return try join(shards, JobDirectory(jobs), context) }
        try requireShards(shards)
        let plan = Manifest(stage: Self.stage, configuration: settings(shards), inputs: try digests(shards, context))
        switch try StageDirectory.open(output, for: plan, overwrite: options.overwrite) {
        case .done(let manifest):
            context.say("\(output) is finished already; nothing to do")
            return StageSummary(["output": output, "counts": manifest.counts, "already_done": true])
        case .work(let directory):
            return try IngestRun(directory: directory, shards: shards, logits: logits, memory: planes(context), context: context).run()
        }
    }

    private func planes(_ context: StageContext) -> PlaneMemory { PlaneMemory(budget: memory.bytes, threads: context.threads) }

    /// One task joins all: duplicates and gaps show only over the whole.
    private func join(_ files: [String], _ jobs: JobDirectory, _ context: StageContext) throws -> StageSummary {
        guard options.share.rank == 0 else { return StageSummary(["output": output, "left_to_rank_0": true]) }
        let inputs = try [JobDirectory.jobsName, JobDirectory.basesName].map { jobs.path + "/" + $0 } + files
        let plan = Manifest(
            stage: Self.stage, configuration: settings(files).merging(["jobs": "joined"]) { $1 },
            inputs: try inputs.map { Manifest.File(path: $0, sha256: try SHA256Digest.ofFile($0)) })
        switch try StageDirectory.open(output, for: plan, overwrite: options.overwrite) {
        case .done(let manifest):
            context.say("\(output) is finished already; nothing to do")
            return StageSummary(["output": output, "counts": manifest.counts, "already_done": true])
        case .work(let directory):
            let tokenizer = try tokenizer.map { TextTokens(tokenizer: try Tokenizer(path: $0), stopTokens: StopTokens.read($0) ?? []) }
            return try JoinRun(
                directory: directory, files: files, jobs: jobs, logits: logits, memory: planes(context), tokenizer: tokenizer, dialects: dialects, context: context
            ).run()
        }
    }

    private var dialects: [any EngineDialect.Type] { EngineDialects.named(format).map { [$0] } ?? EngineDialects.all }

    private func requireShards(_ files: [String]) throws {
        guard let lines = files.first(where: isLines) else { return }
        throw StageError(.usage, "\(lines): JSON lines are results of jobs; give --jobs DIR, the jobs folder of the plan that asked for them")
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
    case rollouts, openai, sglang
    static var names: String { allCases.map(\.rawValue).joined(separator: ", ") }
}

func absolutePath(_ path: String) -> String { URL(fileURLWithPath: path).standardizedFileURL.path }

/// Results as JSON lines.
func isLines(_ path: String) -> Bool { path.hasSuffix(".jsonl") || path.hasSuffix(".json") }

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
    let all = try FileManager.default.contentsOfDirectory(atPath: input).sorted()
    let shards = all.filter { $0.hasSuffix(".rollouts.zst") }, names = shards.isEmpty ? all.filter(isLines) : shards
    guard !names.isEmpty else {
        throw FormatError(
            file: input, place: "", found: "no *.rollouts.zst and no *.jsonl", expected: "at least one rollout shard or file of results", remedy: "Check --input.")
    }
    return names.map { input + (input.hasSuffix("/") ? "" : "/") + $0 }
}
