import ArgumentParser
import Credit
import Files
import Formats
import Foundation
import Recipes
import StageSupport
import Tokenizer

@main
enum PlanMain {
    static func main() {
        // Asks for nothing else, so it can't wait for the flags that every plan needs.
        if CommandLine.arguments.dropFirst() == ["--list"] {
            print(Listing.text)
            exit(0)
        }
        PlanCommand.runMain()
    }
}

/// `ingest/` and `score/` under a recipe → `plan/`: per-token advantages, masks and weights, and what was left out and
/// why; with an expansion recipe first the jobs, then, given the jobs, what their results are worth.
struct PlanCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "crux-plan",
        abstract: "Decides what to learn from: advantages, masks, weights, optimizer steps, re-expansion jobs.",
        discussion: "crux-plan export hands a plan over to another trainer.",
        version: cruxVersion)
    static let stage = "plan"
    static var besides: [String: any StageCommand.Type] { ["export": ExportCommand.self] }

    @Option(help: "Directory of crux-ingest.")
    var input: String

    @Option(help: "Directory of crux-score.")
    var scores: String

    @Option(help: "Recipe (YAML).")
    var recipe: String

    @Option(help: "Change a key of the recipe, such as optimizer.lr=1e-5; may be repeated.")
    var set: [String] = []

    @Option(
        help:
            "KEY=VALUE,VALUE…: report a plan for each value of a key of the recipe, all in the passes of one plan, and write none. May be repeated, for every combination. Not with an expansion."
    )
    var sweep: [String] = []

    @Option(
        name: .customLong("output"),
        help:
            "Directory to make; with --report-only none; with --sweep what the names of its files begin with (OUTPUT.md, .csv, .svg), if any."
    )
    var outputFolder: String?

    @Option(help: "The jobs folder of an earlier plan, whose results --input and --scores now hold.")
    var jobs: String?

    @Flag(
        help:
            "With --jobs: credit what came back although the recipe has further rounds of branching."
    )
    var lastRound = false

    @Option(
        help:
            "Checkpoint folder (or tokenizer.json): gives expansions the text of tokens, and entropy.exclude_eos the ids that end a sequence.",
        transform: ModelFolder.path)
    var tokenizer: String?

    @Option(help: "Shape of the job lines: \(EngineDialects.names.joined(separator: ", ")).")
    var engine = OpenAICompletions.name

    @Option(help: "Name under which the engine serves the policy.")
    var model = "policy"

    @Option(help: "Text that ends a job's continuation, beside what its rollout was sampled with; may be repeated.")
    var stop: [String] = []

    @Option(
        help:
            "How many of the best log-probabilities jobs ask for at every token, as evidence of its entropy; 0 for the sampled token's alone."
    )
    var topLogprobs = 20

    @Flag(
        help:
            "Print every method that a recipe can name, with its defaults and where it comes from, and stop. Goes alone."
    )
    var list = false

    @Flag(help: "Build the plan, report it and stop: no directory, no tables. Not with an expansion.")
    var reportOnly = false

    @OptionGroup var options: StageOptions

    static var memoryHabit: MemoryHabit { .shared }

    func validate() throws {
        guard (0...10_000).contains(topLogprobs) else {
            throw ValidationError(
                "--top-logprobs is \(topLogprobs); it must be from 0 to 10000 (servers allow 20 unless told otherwise)."
            )
        }
        guard !stop.contains("") else {
            throw ValidationError("--stop is empty; it would end every continuation at once.")
        }
        guard !list else { throw ValidationError("--list goes alone: crux-plan --list") }
        guard sweep.isEmpty || !reportOnly else {
            throw ValidationError("--sweep reports only: leave out --report-only.")
        }
        guard jobs != nil || !lastRound else {
            throw ValidationError("--last-round is for the results of jobs: give --jobs.")
        }
        guard outputFolder != nil || reportsOnly else {
            throw ValidationError("Missing --output, the directory to make.")
        }
        guard EngineDialects.named(engine) != nil else {
            throw ValidationError("--engine is '\(engine)'; known: \(EngineDialects.names.joined(separator: ", ")).")
        }
    }

    func runStage(_ context: StageContext) throws -> StageSummary {
        if !reportsOnly { try Undertaking.requireApart(output, places, options) }
        let recipe = try loadRecipe()
        let resolved = try recipe.resolvedJSON()
        try check(recipe)
        let ingest = try Manifest.finished(input, stage: "ingest"),
            score = try Manifest.finished(scores, stage: "score")
        try checkLineage(ingest, score)
        // One task does the whole plan: group statistics and thresholds span the dump.
        guard options.share.rank == 0 else { return StageSummary(["output": output, "left_to_rank_0": true]) }
        func open() throws -> ScoredRollouts {
            try jobs.map {
                try JobDirectory($0).verify(only: [JobDirectory.jobsName, JobDirectory.basesName], context)
            }
            var rollouts = try ScoredRollouts(ingest: input, ingest, scores: scores, score, context)
            rollouts.endTokens = try endTokens(recipe)
            return rollouts
        }
        // Before anything is emptied; else when it is known that there is something to do.
        if !sweep.isEmpty { return try runSweep(open, context) }
        let early = options.dryRun || options.overwrite || reportOnly ? try open() : nil
        if let early, reportOnly {
            guard !options.dryRun else { return StageSummary(["would_write": NSNull(), "recipe": resolved]) }
            return try PlanRun(rollouts: early, recipe: recipe, context: context).preview()
        }
        let text =
            try writesJobs(recipe)
            ? try tokenizer.map { (try Tokenizer(path: $0), try StopTokens.read($0) ?? []) } : nil
        let plan = Manifest(
            stage: Self.stage, configuration: try configuration(recipe, resolved),
            inputs: try inputFiles(recipe))
        let undertaking = Undertaking(plan, output: output, reads: places, options: options, share: .whole).explaining([
            "recipe": resolved
        ])
        let summary = try undertaking.run(context, would: ["recipe": resolved]) { directory in
            let rollouts = try early ?? open()
            let writer = PlanWriter(
                directory: directory, recipe: recipe, resolved: resolved, vocabulary: rollouts.vocabulary,
                trainer: rollouts.trainer, context: context)
            return try run(recipe.credit.expansion, rollouts, text, writer)
        }
        // A finished plan of nothing is as little a success the second time.
        guard summary.fields["already_done"] as? Bool == true, let counts = summary.fields["counts"] as? [String: Int]
        else { return summary }
        return EmptyPlan.summary(counts, context, summary.fields)
    }

    private var output: String { outputFolder ?? "" }

    /// Whether no plan is written.
    private var reportsOnly: Bool { reportOnly || !sweep.isEmpty }

    private func runSweep(_ open: () throws -> ScoredRollouts, _ context: StageContext) throws -> StageSummary {
        let keys = try sweep.map(SweptKey.init),
            settings = try SweepSetting.all(keys, recipe: recipe, overrides: set)
        for setting in settings {
            try check(setting.recipe)
            _ = try endTokens(setting.recipe)
        }
        let files = outputFolder.map { output in Sweep.suffixes.map { output + $0 } } ?? []
        for file in files { try Undertaking.requireApart(file, places, options) }
        guard !options.dryRun else { return StageSummary(["would_write": files, "settings": settings.count]) }
        return try Sweep(rollouts: try open(), keys: keys, settings: settings, context: context).run(
            output: outputFolder)
    }

    private var places: [InputPlace] {
        ([input, scores, recipe] + [tokenizer].compactMap { $0 }).map { InputPlace($0) }
            + [jobs].compactMap { $0 }.map(InputPlace.dump)
    }

    /// Ids and lengths may agree by chance; digests don't.
    private func checkLineage(_ ingest: Manifest, _ score: Manifest) throws {
        try Lineage.require(
            scores, score, madeFrom: input,
            remedy: "Score this one: crux-score --input \(input) --output \(scores) --overwrite")
        guard let jobs else { return }
        let folder = JobDirectory(jobs)
        try folder.requireOneMaking()
        // A dump that names its jobs itself wasn't joined, and says nothing about them.
        guard ingest.inputs.contains(where: { ($0.path as NSString).lastPathComponent == JobDirectory.jobsName }) else {
            return
        }
        for name in [JobDirectory.jobsName, JobDirectory.basesName] {
            try Lineage.require(
                input, ingest, madeFromFile: jobs + "/" + name, what: "\(jobs)",
                remedy:
                    "Join the results of these jobs: crux-ingest --input RESULTS --jobs \(jobs) --output \(input) --overwrite"
            )
        }
    }

    private func run(
        _ expansion: (any Expansion)?, _ rollouts: ScoredRollouts, _ text: (Tokenizer, Set<Int32>)?,
        _ writer: PlanWriter
    ) throws -> StageSummary {
        guard let expansion else {
            return try PlanRun(rollouts: rollouts, recipe: writer.recipe, context: writer.context).run(writer)
        }
        if let jobs, try !writesJobs(writer.recipe) {
            return try ExpandedPlanRun(
                expansion: expansion, jobs: JobDirectory(jobs), rollouts: rollouts, writer: writer
            ).run()
        }
        guard let dialect = EngineDialects.named(engine) else { throw StageError(.usage, "unknown engine '\(engine)'") }
        let source: any BaseSource =
            try jobs.map { try ReturnedBases(rollouts, JobDirectory($0), expansion, writer) }
            ?? DumpedBases(rollouts, writer)
        return try JobPlanRun(
            expansion: expansion, source: source, tokenizer: text?.0, stopTokens: (text?.1 ?? []).sorted(),
            stop: stop, topLogprobs: topLogprobs, dialect: dialect, model: model, writer: writer
        ).run()
    }

    /// Whether jobs are made: a first plan, or one of a further round.
    private func writesJobs(_ recipe: Recipe) throws -> Bool {
        guard let expansion = recipe.credit.expansion else { return false }
        guard let jobs else { return true }
        guard !lastRound, expansion.rounds > 1 else { return false }
        return try JobDirectory(jobs).round() < expansion.rounds
    }

    private func loadRecipe() throws -> Recipe { try Recipe.load(path: recipe, overrides: set) }

    private func check(_ recipe: Recipe) throws {
        let expansion = recipe.credit.expansion, name = expansion.map { type(of: $0).name } ?? ""
        if reportsOnly, expansion != nil {
            let flag = sweep.isEmpty ? "--report-only" : "--sweep"
            throw StageError(.usage, "\(flag) goes with a recipe without an expansion; \(self.recipe) has one")
        }
        if jobs != nil, expansion == nil {
            throw StageError(.usage, "--jobs needs a recipe with an expansion section; \(self.recipe) has none")
        }
        let writesJobs = try writesJobs(recipe)
        if !stop.isEmpty, !writesJobs {
            throw StageError(.usage, "--stop is for the jobs of an expansion's plan; this plan writes none")
        }
        guard writesJobs, tokenizer == nil else { return }
        if expansion?.readsText == true {
            throw StageError(
                .usage,
                "\(self.recipe): expansion \(name) reads the text of tokens; give --tokenizer DIR, the checkpoint that sampled the dump"
            )
        }
        if EngineDialects.named(engine)?.sendsText == true {
            throw StageError(
                .usage,
                "--engine \(engine) sends prefixes as text; give --tokenizer DIR, the checkpoint that sampled the dump")
        }
    }

    /// Tokens that end a sequence, where a plan may leave them out.
    private func endTokens(_ recipe: Recipe) throws -> Set<Int32> {
        guard recipe.credit.excludesEndTokens || !sweep.isEmpty else { return [] }
        let tokens = try tokenizer.flatMap { try StopTokens.read($0) } ?? []
        guard tokens.isEmpty, recipe.credit.excludesEndTokens else { return tokens }
        let found =
            tokenizer.map { "\($0) has no eos_token_id" } ?? "nothing says which tokens end a sequence"
        throw StageError(
            .usage,
            "\(self.recipe): entropy.exclude_eos is true and \(found); give --tokenizer DIR, the checkpoint that sampled "
                + "the dump")
    }

    private func configuration(_ recipe: Recipe, _ resolved: String) throws -> [String: String] {
        var configuration = ["recipe": SHA256Digest.of(resolved), "seed": "\(options.seed)"]
        if lastRound { configuration["last_round"] = "true" }
        guard try writesJobs(recipe) else { return configuration }
        configuration["engine"] = engine
        configuration["model"] = model
        configuration["top_logprobs"] = "\(topLogprobs)"
        if !stop.isEmpty { configuration["stop"] = StopFields.metadata(texts: stop, tokens: [])["stop"] }
        return configuration
    }

    private func inputFiles(_ recipe: Recipe) throws -> [Manifest.File] {
        let read =
            try jobs == nil || writesJobs(recipe)
            ? try tokenizer.map { try Tokenizer.inputPaths($0) + StopTokens.inputPaths($0) } ?? [] : []
        return [try Manifest.asInput(input, stage: "ingest"), try Manifest.asInput(scores, stage: "score")]
            + (try jobs.map { try JobDirectory($0).inputFiles() } ?? [])
            + (try read.map { try .input("tokenizer", $0) })
    }
}
