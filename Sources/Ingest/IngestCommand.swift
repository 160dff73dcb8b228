import ArgumentParser
import Files
import Formats
import Foundation
import StageSupport
import Tokenizer

extension SpecialTokenRule: ExpressibleByArgument {}

@main
enum IngestMain {
    static func main() { IngestCommand.runMain() }
}

/// Rollout shards, or other programs' dumps → `ingest/`: every rollout checked, bad ones kept aside with their reason,
/// logits located.
struct IngestCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "crux-ingest",
        abstract: "Checks rollout shards, or other programs' dumps, and lays them out as columnar files.",
        version: cruxVersion)
    static let stage = "ingest"

    @Option(
        name: .long, parsing: .upToNextOption,
        help: "Rollout shards or JSON lines, or folders of *.rollouts.zst or *.jsonl.")
    var input: [String]

    @Option(help: "Directory to make.")
    var output: String

    @Option(help: "Dialect of the input: auto (by its content) or one of \(InputFormat.names).")
    var format = "auto"

    @Option(help: "Jobs folder of crux-plan: joins results of its jobs (shards or JSON lines) to their prefixes.")
    var jobs: String?

    @Option(
        help: "Checkpoint folder (or tokenizer.json), for dumps and results that come as text.",
        transform: ModelFolder.path)
    var tokenizer: String?

    @Option(
        help:
            "Special tokens around prompts that come as text: auto (none where one begins with them itself), always, never."
    )
    var addSpecialTokens = SpecialTokenRule.auto

    @Option(
        name: .long, parsing: .upToNextOption,
        help:
            "Request files of a batch, or prompt files: joins results to their prompts, answers and settings by custom_id."
    )
    var requests: [String] = []

    @Option(help: "Sampling temperature of rollouts in JSON lines, where they don't tell theirs (default: 1).")
    var temperature: Float?

    @Option(help: "Top-p of rollouts in JSON lines, where they don't tell theirs (default: 1).")
    var topP: Float?

    @Option(
        help: "What log-probabilities in JSON lines are of: raw logits, or processed ones (vLLM's --logprobs-mode).",
        transform: Self.logprobsMode)
    var logprobsMode: LogprobsMode?

    @Option(
        help:
            "A rollout with sampled log-probabilities that are none (NaN, null, -9999, above 0): reject, or drop them and keep it."
    )
    var invalidLogprobs = InvalidLogprobs.reject

    @Option(
        help: ArgumentHelp(
            "Columns of a trainer's log (TRL, ms-swift) that are rewards, and what they weigh: accuracy,format:0.5.",
            valueName: "name[:weight],…"))
    var rewardColumns: RewardColumns?

    @Flag(
        help:
            "Of dumps without a mask: take all tokens behind the prompt for the policy's, also where tools were called."
    )
    var trustAllResponseTokens = false

    @Option(
        help: ArgumentHelp(
            "Recorded layers and experts of a token, for responses that don't say (SGLang's); else --tokenizer's config.json says.",
            valueName: "layersxk"))
    var routedExperts: ExpertsShape?

    @Option(
        name: .long, parsing: .upToNextOption,
        help:
            "Prompt files of data sets: gives rollouts their reference answer and data source, by name, token ids or text of the prompt."
    )
    var prompts: [String] = []

    @Flag(help: "Rollouts have one turn, where their dump doesn't tell (AReaL's).")
    var oneTurn = false

    @Option(
        help:
            "What becomes of logits: reference (stay where they are), copy (into the output, 16-bit ones with their bytes apart), drop."
    )
    var logits = LogitsMode.reference

    @Flag(
        help:
            "Also measure every token's distribution in the pass that validates it, so that crux-score need not decode the dump again. Of shards with logits."
    )
    var score = false

    @OptionGroup var memory: MemoryOption

    @OptionGroup var options: StageOptions

    private static func logprobsMode(_ text: String) throws -> LogprobsMode {
        if let mode = LogprobsMode(argument: text) { return mode }
        guard LogprobsMode.ofLogits.contains(text) else {
            throw ValidationError(
                "--logprobs-mode is '\(text)'; known: "
                    + LogprobsMode.allCases.map(\.rawValue).joined(separator: ", ") + ".")
        }
        throw ValidationError(
            "--logprobs-mode \(text): found logits, expected log-probabilities. Serve with --logprobs-mode "
                + "raw_logprobs or processed_logprobs and sample again.")
    }

    func validate() throws {
        if score, jobs != nil {
            throw ValidationError("--score and --jobs: results are measured by crux-score alone.")
        }
        guard InputFormat(format) != nil else {
            throw ValidationError("--format is '\(format)'; known: auto, \(InputFormat.names).")
        }
        if jobs != nil, EngineDialects.named(format) == nil, DumpDialects.names.contains(format) {
            throw ValidationError(
                "--format \(format) is no dialect of results; with --jobs known: auto, shards, \(EngineDialects.names.joined(separator: ", "))."
            )
        }
        if let temperature, !(temperature > 0 && temperature.isFinite) {
            throw ValidationError("--temperature is \(temperature); expected a number above 0.")
        }
        if let topP, !(topP > 0 && topP <= 1) {
            throw ValidationError("--top-p is \(topP); expected a number above 0 and at most 1.")
        }
        if jobs != nil, !prompts.isEmpty {
            throw ValidationError("--prompts and --jobs: results have their prompts' answers from the plan.")
        }
        if jobs != nil, !requests.isEmpty {
            throw ValidationError("--requests and --jobs: results are joined to the one or the other.")
        }
    }

    func runStage(_ context: StageContext) throws -> StageSummary {
        try Undertaking.requireApart(output, places, options)
        let shards = try findShards(input), text = try textTokens(context)
        if let jobs { return try join(shards, JobDirectory(jobs), text, context) }
        let labels = InputLabels(shards), book = try requests.isEmpty ? nil : RequestBook(requests)
        let answers = try prompts.isEmpty ? nil : PromptBook(prompts)
        let reading = try reading(InputFormat(format)?.lineDialects ?? DumpDialects.all, text, book)
        let unreadable = try unreadable(shards) {
            try source(shards[$0], labels.stem($0), reading, work: output, context)
        }
        let plan = Manifest(
            stage: Self.stage, configuration: settings,
            inputs: try digests(shards, context) + tokenizerFiles() + requests.map { try .input("requests", $0) }
                + prompts.map { try .input("prompts", $0) })
        let undertaking = Undertaking(
            plan, output: output, reads: places + shards.map { InputPlace($0) }, options: options)
        let summary = try undertaking.run(context, would: ["would_read": shards, "unreadable": unreadable]) {
            directory in
            let open = { try source(shards[$0], labels.stem($0), reading, work: directory.workPath, context) }
            return try IngestRun(
                directory: directory, shards: shards, logits: logits, open: open, labels: labels, requests: book,
                prompts: answers, measures: score, context: context
            ).run()
        }
        return options.dryRun && !unreadable.isEmpty ? StageSummary(status: .someShardsFailed, summary.fields) : summary
    }

    private var places: [InputPlace] {
        (input + [jobs].compactMap { $0 }).map(InputPlace.dump)
            + ([tokenizer].compactMap { $0 } + requests + prompts).map { InputPlace($0) }
    }

    /// Shards that are no shards, where that has to be known before the run: it goes on without them, but a dry run
    /// tells. With `--overwrite` one that isn't there at all is an error: there would be nothing in the place of what
    /// it became.
    private func unreadable(_ shards: [String], open: (Int) throws -> Any) throws -> [String] {
        guard options.dryRun || options.overwrite else { return [] }
        if options.overwrite { for shard in shards { _ = try MappedFile(path: shard) } }
        var failures: [any Error] = [], names: [String] = []
        for (index, shard) in shards.enumerated() {
            do { _ = try open(index) } catch {
                failures.append(error)
                names.append(shard)
            }
        }
        guard let first = failures.first, names.count == shards.count else { return names }
        throw StageError(.invalidInput, "no shard could be read; the first: \(first)")
    }

    /// What --tokenizer names is an input like the others.
    private func tokenizerFiles() throws -> [Manifest.File] {
        let paths = try tokenizer.map { try Tokenizer.inputPaths($0) + StopTokens.inputPaths($0) } ?? []
        return try paths.map { try .input("tokenizer", $0) }
    }

    private func planes(_ context: StageContext) -> PlaneMemory {
        PlaneMemory(budget: memory.bytes, threads: context.threads)
    }

    /// One task joins all: duplicates and gaps show only over the whole.
    private func join(_ files: [String], _ jobs: JobDirectory, _ text: TextTokens?, _ context: StageContext) throws
        -> StageSummary
    {
        guard options.share.rank == 0 else { return StageSummary(["output": output, "left_to_rank_0": true]) }
        let index = try JobIndex(jobs)
        let plan = Manifest(
            stage: Self.stage, configuration: settings.merging(["jobs": "joined"]) { $1 },
            inputs: try jobs.inputFiles() + files.map { try .input("input", $0) } + tokenizerFiles())
        let undertaking = Undertaking(
            plan, output: output, reads: places + files.map { InputPlace($0) }, options: options, share: .whole)
        return try undertaking.run(context, would: ["would_read": files]) { directory in
            try jobs.verify(only: [JobDirectory.jobsName, JobDirectory.basesName], context)
            let dialects = EngineDialects.named(format).map { [$0.results] } ?? EngineDialects.results
            return try JoinRun(
                directory: directory, files: files, jobs: jobs, index: index, logits: logits, memory: planes(context),
                reading: try reading(dialects, text, nil), context: context
            ).run()
        }
    }

    private func textTokens(_ context: StageContext) throws -> TextTokens? {
        let text = try tokenizer.map { try TextTokens($0, specialTokens: addSpecialTokens) }
        text?.tokenizer.notes.forEach(context.warn)
        return text
    }

    private func reading(
        _ dialects: [any DumpDialect.Type], _ text: TextTokens?, _ requests: RequestBook?
    ) throws -> LineReading {
        var defaults = ["temperature": "\(temperature ?? 1)", "top_p": "\(topP ?? 1)"]
        defaults["logits_kind"] = logprobsMode?.rawValue
        return LineReading(
            dialects: dialects, tokenizer: text, defaults: defaults, invalidLogprobs: invalidLogprobs,
            isTemperatureGiven: temperature != nil, requests: requests, rewardColumns: rewardColumns,
            trustsResponseTokens: trustAllResponseTokens,
            expertsShape: try routedExperts ?? tokenizer.flatMap { try ExpertsShape(checkpoint: $0) },
            isOneTurn: oneTurn)
    }

    private func source(
        _ path: String, _ name: String, _ reading: LineReading, work: String, _ context: StageContext
    ) throws -> any RolloutSource {
        try ForeignFile.refuse(path)
        guard try InputFormat(format)?.dialects(of: path) != nil else {
            if reading.requests != nil {
                throw FormatError(
                    file: path, place: "", found: "a rollout shard", expected: "JSON lines, which --requests joins",
                    remedy: "A shard says itself what was asked; ingest it without --requests.")
            }
            let examiner = FrameExaminer(
                logits: logits, invalidLogprobs: invalidLogprobs, folder: work, memory: planes(context),
                context: context, measures: score)
            return try ShardSource(path, examiner)
        }
        return LineExaminer(file: try LineFile(path: path), name: name, reading: reading, context: context)
    }

    private var settings: [String: String] {
        var settings = ["format": format, "logits": logits.rawValue]
        if addSpecialTokens != .auto { settings["add_special_tokens"] = addSpecialTokens.rawValue }
        if let temperature, temperature != 1 { settings["temperature"] = "\(temperature)" }
        if let topP, topP != 1 { settings["top_p"] = "\(topP)" }
        settings["logprobs_mode"] = logprobsMode?.rawValue
        settings["reward_columns"] = rewardColumns?.text
        if trustAllResponseTokens { settings["response_tokens"] = "trusted" }
        settings["routed_experts"] = routedExperts?.text
        if oneTurn { settings["turns"] = "one" }
        if invalidLogprobs != .reject { settings["invalid_logprobs"] = invalidLogprobs.rawValue }
        if score { settings["score"] = "measured" }
        return settings
    }

    /// Digests of this task's shards and lengths of all: reading everything in every task would make sharing the work
    /// useless. A large shard's is taken when its turn comes, so that it is read once; but a finished directory is
    /// compared with all of them before anything else.
    private func digests(_ shards: [String], _ context: StageContext) throws -> [Manifest.File] {
        let isNew = try options.overwrite || Manifest.read(output) == nil
        return try parallelMap(shards.count, threads: context.threads) { index in
            do {
                let file = try MappedFile(path: shards[index]), bytes = file.bytes.count
                let isLater = isNew && bytes >= PiecewiseDigest.largeFileBytes
                guard options.share.owns(index), !options.dryRun, !isLater else {
                    return .input("input", shards[index], bytes: bytes, sha256: nil)
                }
                return try .input("input", shards[index], file, threads: 1)
            } catch is FormatError {
                // A shard that is missing or not allowed costs that shard, not the run: it shows when its turn comes.
                return .input("input", shards[index], sha256: nil)
            }
        }
    }
}
