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
        try Undertaking.requireApart(output, places, options)
        let shards = try findShards(input), text = try textTokens(context)
        if let jobs { return try join(shards, JobDirectory(jobs), text, context) }
        let unreadable = try unreadable(shards) { try source($0, work: output, text, context) }
        let plan = Manifest(stage: Self.stage, configuration: settings, inputs: try digests(shards, context) + tokenizerFiles())
        let undertaking = Undertaking(plan, output: output, reads: places + shards.map { InputPlace($0) }, options: options)
        let summary = try undertaking.run(context, would: ["would_read": shards, "unreadable": unreadable]) { directory in
            let open = { try source($0, work: directory.workPath, text, context) }
            return try IngestRun(directory: directory, shards: shards, logits: logits, open: open, context: context).run()
        }
        return options.dryRun && !unreadable.isEmpty ? StageSummary(status: .someShardsFailed, summary.fields) : summary
    }

    private var places: [InputPlace] { (input + [jobs].compactMap { $0 }).map(InputPlace.dump) + [tokenizer].compactMap { $0 }.map { InputPlace($0) } }

    /// Shards that are no shards, where that has to be known before the run: it goes on without them, but a dry run tells. With
    /// `--overwrite` one that isn't there at all is an error: there would be nothing in the place of what it became.
    private func unreadable(_ shards: [String], open: (String) throws -> Any) throws -> [String] {
        guard options.dryRun || options.overwrite else { return [] }
        if options.overwrite { for shard in shards { _ = try MappedFile(path: shard) } }
        var failures: [any Error] = [], names: [String] = []
        for shard in shards {
            do { _ = try open(shard) } catch {
                failures.append(error)
                names.append(shard)
            }
        }
        guard let first = failures.first, names.count == shards.count else { return names }
        throw StageError(.invalidInput, "no shard could be read; the first: \(first)")
    }

    /// What --tokenizer names is an input like the others.
    private func tokenizerFiles() throws -> [Manifest.File] {
        let paths = tokenizer.map { Tokenizer.inputPaths($0) + StopTokens.inputPaths($0) } ?? []
        return try paths.map { try .input("tokenizer", $0) }
    }

    private func planes(_ context: StageContext) -> PlaneMemory { PlaneMemory(budget: memory.bytes, threads: context.threads) }

    /// One task joins all: duplicates and gaps show only over the whole.
    private func join(_ files: [String], _ jobs: JobDirectory, _ text: TextTokens?, _ context: StageContext) throws -> StageSummary {
        guard options.share.rank == 0 else { return StageSummary(["output": output, "left_to_rank_0": true]) }
        let index = try JobIndex(jobs)
        let plan = Manifest(
            stage: Self.stage, configuration: settings.merging(["jobs": "joined"]) { $1 },
            inputs: try jobs.inputFiles() + files.map { try .input("input", $0) } + tokenizerFiles())
        let undertaking = Undertaking(plan, output: output, reads: places + files.map { InputPlace($0) }, options: options, share: .whole)
        return try undertaking.run(context, would: ["would_read": files]) { directory in
            try jobs.verify(only: [JobDirectory.jobsName, JobDirectory.basesName], context)
            return try JoinRun(
                directory: directory, files: files, jobs: jobs, index: index, logits: logits, memory: planes(context), tokenizer: text, dialects: dialects,
                context: context
            ).run()
        }
    }

    private func textTokens(_ context: StageContext) throws -> TextTokens? {
        let text = try tokenizer.map { try TextTokens($0, specialTokens: addSpecialTokens) }
        text?.tokenizer.notes.forEach(context.warn)
        return text
    }

    private var dialects: [any EngineDialect.Type] { EngineDialects.named(format).map { [$0] } ?? EngineDialects.all }

    private func source(_ path: String, work: String, _ tokenizer: TextTokens?, _ context: StageContext) throws -> any RolloutSource {
        guard let dialects = InputFormat(format)?.dialects(of: path) else {
            return try ShardSource(path, FrameExaminer(logits: logits, folder: work, memory: planes(context), context: context))
        }
        return LineExaminer(
            file: try LineFile(path: path), dialects: dialects, tokenizer: tokenizer, defaults: ["temperature": "\(temperature)", "top_p": "\(topP)"], context: context)
    }

    private var settings: [String: String] {
        var settings = ["format": format, "logits": logits.rawValue]
        if addSpecialTokens != .auto { settings["add_special_tokens"] = addSpecialTokens.rawValue }
        if temperature != 1 { settings["temperature"] = "\(temperature)" }
        if topP != 1 { settings["top_p"] = "\(topP)" }
        return settings
    }

    private func tokenizerDigests() throws -> [Manifest.File] {
        try tokenizerFiles.map { Manifest.File(path: $0, sha256: try SHA256Digest.ofFile($0)) }
    }

    /// Digests of this task's shards and lengths of all: reading everything in every task would make sharing the work useless.
    private func digests(_ shards: [String], _ context: StageContext) throws -> [Manifest.File] {
        try parallelMap(shards.count, threads: context.threads) { index in
            do {
                let file = try MappedFile(path: shards[index])
                let digest = options.share.owns(index) && !options.dryRun ? SHA256Digest.of(file) : nil
                return .input("input", shards[index], bytes: file.bytes.count, sha256: digest)
            } catch is FormatError {
                // A shard that is missing or not allowed costs that shard, not the run: it shows when its turn comes.
                return .input("input", shards[index], sha256: nil)
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
