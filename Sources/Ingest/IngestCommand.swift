import ArgumentParser
import Formats
import Foundation
import StageSupport
import Tokenizer

extension SpecialTokenRule: ExpressibleByArgument {}

enum LogitsMode: String, ExpressibleByArgument, CaseIterable { case reference, copy, drop }

@main
enum IngestMain {
    static func main() { IngestCommand.runMain() }
}

/// Rollout shards, or other programs' dumps → `ingest/`: every rollout checked, bad ones kept aside with their reason, logits located.
struct IngestCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "crux-ingest", abstract: "Checks rollout shards, or other programs' dumps, and lays them out as columnar files.", version: cruxVersion)
    static let stage = "ingest"

    @Option(name: .long, parsing: .upToNextOption, help: "Rollout shards or JSON lines, or folders of *.rollouts.zst or *.jsonl.")
    var input: [String]

    @Option(help: "Directory to make.")
    var output: String

    @Option(help: "Dialect of the input: auto (by its content) or one of \(InputFormat.names).")
    var format = "auto"

    @Option(help: "Jobs folder of crux-plan: joins results of its jobs (shards or JSON lines) to their prefixes.")
    var jobs: String?

    @Option(help: "Checkpoint folder (or tokenizer.json), for dumps and results that come as text.")
    var tokenizer: String?

    @Option(help: "Special tokens around prompts that come as text: auto (none where one begins with them itself), always, never.")
    var addSpecialTokens = SpecialTokenRule.auto

    @Option(help: "Sampling temperature of rollouts in JSON lines, where they don't tell theirs.")
    var temperature: Float = 1

    @Option(help: "Top-p of rollouts in JSON lines, where they don't tell theirs.")
    var topP: Float = 1

    @Option(help: "What becomes of logits: reference (stay where they are), copy (into the output, 16-bit ones with their bytes apart), drop.")
    var logits = LogitsMode.reference

    @OptionGroup var memory: MemoryOption

    @OptionGroup var options: StageOptions

    func validate() throws {
        guard InputFormat(format) != nil else { throw ValidationError("--format is '\(format)'; known: auto, \(InputFormat.names).") }
        if jobs != nil, EngineDialects.named(format) == nil, DumpDialects.names.contains(format) {
            throw ValidationError("--format \(format) is no dialect of results; with --jobs known: auto, shards, \(EngineDialects.names.joined(separator: ", ")).")
        }
        guard temperature > 0, temperature.isFinite else { throw ValidationError("--temperature is \(temperature); expected a number above 0.") }
        guard topP > 0, topP <= 1 else { throw ValidationError("--top-p is \(topP); expected a number above 0 and at most 1.") }
    }

    func runStage(_ context: StageContext) throws -> StageSummary {
        let shards = try findShards(input)
        if options.dryRun { return StageSummary(["would_read": shards, "would_write": output]) }
        if let jobs { return try join(shards, JobDirectory(jobs), context) }
        let plan = Manifest(stage: Self.stage, configuration: settings(shards), inputs: try digests(shards, context) + tokenizerDigests())
        switch try StageDirectory.open(output, for: plan, overwrite: options.overwrite) {
        case .done(let manifest):
            context.say("\(output) is finished already; nothing to do")
            return StageSummary(["output": output, "counts": manifest.counts, "already_done": true])
        case .work(let directory):
            let text = try textTokens(context)
            return try IngestRun(directory: directory, shards: shards, logits: logits, open: { try source($0, directory, text, context) }, context: context).run()
        }
    }

    private func planes(_ context: StageContext) -> PlaneMemory { PlaneMemory(budget: memory.bytes, threads: context.threads) }

    /// One task joins all: duplicates and gaps show only over the whole.
    private func join(_ files: [String], _ jobs: JobDirectory, _ context: StageContext) throws -> StageSummary {
        guard options.share.rank == 0 else { return StageSummary(["output": output, "left_to_rank_0": true]) }
        let inputs = [JobDirectory.jobsName, JobDirectory.basesName].map { jobs.path + "/" + $0 } + tokenizerFiles + files
        let plan = Manifest(
            stage: Self.stage, configuration: settings(files).merging(["jobs": "joined"]) { $1 },
            inputs: try inputs.map { Manifest.File(path: $0, sha256: try SHA256Digest.ofFile($0)) })
        switch try StageDirectory.open(output, for: plan, overwrite: options.overwrite) {
        case .done(let manifest):
            context.say("\(output) is finished already; nothing to do")
            return StageSummary(["output": output, "counts": manifest.counts, "already_done": true])
        case .work(let directory):
            try jobs.verify(only: [JobDirectory.jobsName, JobDirectory.basesName], context)
            let tokenizer = try textTokens(context)
            return try JoinRun(
                directory: directory, files: files, jobs: jobs, logits: logits, memory: planes(context), tokenizer: tokenizer, dialects: dialects, context: context
            ).run()
        }
    }

    private func textTokens(_ context: StageContext) throws -> TextTokens? {
        let text = try tokenizer.map { try TextTokens($0, specialTokens: addSpecialTokens) }
        text?.tokenizer.notes.forEach(context.warn)
        return text
    }

    /// What --tokenizer names is an input like the others.
    private var tokenizerFiles: [String] { tokenizer.map { Tokenizer.inputPaths($0) + StopTokens.inputPaths($0) } ?? [] }

    private var dialects: [any EngineDialect.Type] { EngineDialects.named(format).map { [$0] } ?? EngineDialects.all }

    private func source(_ path: String, _ directory: StageDirectory, _ tokenizer: TextTokens?, _ context: StageContext) throws -> any RolloutSource {
        guard let dialects = InputFormat(format)?.dialects(of: path) else {
            return try ShardSource(path, FrameExaminer(logits: logits, folder: directory.workPath, memory: planes(context), context: context))
        }
        return LineExaminer(
            file: try LineFile(path: path), dialects: dialects, tokenizer: tokenizer, defaults: ["temperature": "\(temperature)", "top_p": "\(topP)"], context: context)
    }

    private func settings(_ shards: [String]) -> [String: String] {
        var settings = ["format": format, "logits": logits.rawValue]
        if let tokenizer { settings["tokenizer"] = absolutePath(tokenizer) }
        if addSpecialTokens != .auto { settings["add_special_tokens"] = addSpecialTokens.rawValue }
        if temperature != 1 { settings["temperature"] = "\(temperature)" }
        if topP != 1 { settings["top_p"] = "\(topP)" }
        // The place stands in the tables, so another one is another configuration.
        if logits == .reference {
            settings["folders"] = Set(shards.map { (absolutePath($0) as NSString).deletingLastPathComponent }).sorted().joined(separator: ":")
        }
        return settings
    }

    private func tokenizerDigests() throws -> [Manifest.File] {
        try tokenizerFiles.map { Manifest.File(path: $0, sha256: try SHA256Digest.ofFile($0)) }
    }

    /// Digests of this task's shards and lengths of all: reading everything in every task would make sharing the work useless.
    private func digests(_ shards: [String], _ context: StageContext) throws -> [Manifest.File] {
        try parallelMap(shards.count, threads: context.threads) { index in
            do {
                let file = try MappedFile(path: shards[index]), digest = options.share.owns(index) ? SHA256Digest.of(file) : nil
                return Manifest.File(path: shards[index], bytes: file.bytes.count, sha256: digest)
            } catch is FormatError {
                // A shard that is missing or not allowed costs that shard, not the run: it shows when its turn comes.
                return Manifest.File(path: shards[index])
            }
        }
    }
}

/// What `--format` says of the input.
enum InputFormat {
    case auto, shards
    case dump(any DumpDialect.Type)
    /// Of results of jobs only.
    case results

    static var names: String { (["shards"] + Set(DumpDialects.names + EngineDialects.names).sorted()).joined(separator: ", ") }

    init?(_ name: String) {
        switch name {
        case "auto": self = .auto
        case "shards": self = .shards
        default:
            if let dialect = DumpDialects.all.first(where: { $0.name == name }) {
                self = .dump(dialect)
            } else if EngineDialects.named(name) != nil {
                self = .results
            } else {
                return nil
            }
        }
    }

    /// Dialects that the lines of a file may be in; nil where it is a shard. By its name, else by its first byte.
    func dialects(of path: String) -> [any DumpDialect.Type]? {
        switch self {
        case .shards: nil
        case .dump(let dialect): [dialect]
        case .auto, .results: isLines(path) || startsAsObject(path) ? DumpDialects.all : nil
        }
    }

    private func startsAsObject(_ path: String) -> Bool {
        guard let file = try? MappedFile(path: path) else { return false }
        return withExtendedLifetime(file) { file.bytes.first { $0 > 0x20 } == UInt8(ascii: "{") }
    }
}

func absolutePath(_ path: String) -> String { URL(fileURLWithPath: path).standardizedFileURL.path }

/// Results or rollouts as JSON lines.
func isLines(_ path: String) -> Bool { path.hasSuffix(".jsonl") || path.hasSuffix(".json") }

/// Files as given, folders as their *.rollouts.zst, else their JSON lines, sorted by name; each file once.
func findShards(_ inputs: [String]) throws -> [String] {
    var found: [String] = [], seen = Set<String>()
    for input in inputs {
        for path in try expand(input) where seen.insert(absolutePath(path)).inserted { found.append(path) }
    }
    return found
}

private func expand(_ input: String) throws -> [String] {
    // What is not there counts as a shard that fails when its turn comes: the others need not wait for it.
    guard try Folder.isFolder(input) else { return [input] }
    let all = try Folder.names(input)
    let shards = all.filter { $0.hasSuffix(".rollouts.zst") }, names = shards.isEmpty ? all.filter(isLines) : shards
    guard !names.isEmpty else {
        throw FormatError(
            file: input, place: "", found: "no *.rollouts.zst and no *.jsonl", expected: "at least one rollout shard or file of JSON lines", remedy: "Check --input.")
    }
    return names.map { input + (input.hasSuffix("/") ? "" : "/") + $0 }
}
