import ArgumentParser
import Formats
import Foundation
import Recipes
import StageSupport

@main
enum LoopMain {
    static func main() { LoopCommand.runMain() }
}

/// Again and again: rollout → ingest → score → plan → (jobs → rollout → ingest → score → plan) → update.
struct LoopCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "crux-loop", abstract: "Trains a checkpoint over many iterations, each from new rollouts.", version: cruxVersion)
    static let stage = "loop"

    @Option(help: "Recipe (YAML).")
    var recipe: String

    @Option(help: "Change a key of the recipe, such as optimizer.lr=1e-5; may be repeated.")
    var set: [String] = []

    @Option(help: "Recipe of a model that learns beside the policy (a critic, a reward model, a Q network), from the same start; may be repeated.")
    var companion: [String] = []

    @Option(help: "Change a key of the companions' recipes; may be repeated.")
    var companionSet: [String] = []

    @Option(help: "Hugging Face checkpoint to start from.")
    var checkpoint: String

    @Option(help: "Training prompts, JSON lines; taken in order, round and round.")
    var prompts: String

    @Option(help: "Held-out prompts to measure by.")
    var heldout: String?

    @Option(help: "Directory to make.")
    var output: String

    @Option(help: "Iterations in all; a finished loop can be given more.")
    var iterations: Int

    @Option(help: "Prompts of the first iteration (and of all, without --tokens).")
    var promptsPerIteration = 32

    @Option(help: "Tokens to sample per iteration, jobs included: the number of prompts follows from what prompts cost so far.")
    var tokens: Int?

    @Option(help: "Rollouts per prompt.")
    var groupSize = 8

    @Option(help: "Most tokens of a completion.")
    var maxTokens = 1024

    @Option(help: "Sampling temperature.")
    var temperature: Float = 1

    @Option(help: "Text that ends a rollout, as crux-rollout takes it; may be repeated.")
    var stop: [String] = []

    @Option(parsing: .upToNextOption, help: "Token ids that end a rollout, as crux-rollout takes them.")
    var stopTokenIds: [Int32] = []

    @Option(help: "Special tokens around prompts, as crux-rollout takes it: auto, always, never.")
    var addSpecialTokens = "auto"

    @Option(help: "Measure on the held-out prompts every N iterations, and at the start and the end.")
    var evalEvery = 1

    @Option(help: "Rollouts computed at a time.")
    var batch = 32

    @Option(help: "Reward, as crux-score takes it.")
    var reward = "auto"

    @Option(help: "Memory that updates stay within, as crux-update takes it.")
    var memory: MemorySize?

    @Flag(help: "Keep of past iterations only what goes into the table.")
    var prune = false

    @OptionGroup var options: StageOptions

    func validate() throws {
        let sizes = [
            ("--iterations", iterations), ("--prompts-per-iteration", promptsPerIteration), ("--group-size", groupSize), ("--max-tokens", maxTokens),
            ("--eval-every", evalEvery), ("--batch", batch), ("--tokens", tokens ?? 1),
        ]
        for (name, value) in sizes where value < 1 { throw ValidationError("\(name) is \(value); it must be at least 1.") }
        guard !stop.contains("") else { throw ValidationError("--stop is empty; it would end every rollout at once.") }
        guard ["auto", "always", "never"].contains(addSpecialTokens) else {
            throw ValidationError("--add-special-tokens is '\(addSpecialTokens)'; known: auto, always, never.")
        }
        guard temperature > 0, temperature.isFinite else { throw ValidationError("--temperature is \(temperature); it must be above 0.") }
    }

    func runStage(_ context: StageContext) throws -> StageSummary {
        let loaded = try loadRecipe(), companions = try companion.map { try Companion(path: $0, overrides: companionSet) }
        if let adapters = loaded.trainable.adapters, !adapters.merged {
            throw StageError(.usage, "\(recipe) trains adapters: a loop samples from them merged; give --set trainable.merged=true")
        }
        let missing = ModelNeeds([loaded] + companions.map(\.recipe)).missing(companions)
        guard missing.isEmpty else {
            throw StageError(.usage, "\(recipe) reads what a second model says: give \(missing.map { "--companion \($0)" }.joined(separator: " "))")
        }
        if options.dryRun { return StageSummary(["would_write": output, "iterations": iterations, "recipe": try loaded.resolvedJSON()]) }
        let plan = Manifest(stage: Self.stage, configuration: try settings(loaded, companions), inputs: try inputFiles())
        switch try StageDirectory.open(output, for: plan, overwrite: options.overwrite) {
        case .done(let manifest) where (manifest.counts["iterations"] ?? 0) >= iterations:
            context.say("\(output) is finished already; nothing to do")
            return StageSummary(["output": output, "counts": manifest.counts, "already_done": true])
        case .done:
            return try LoopRun(self, loaded, companions, StageDirectory.reopen(output, for: plan), context).run()
        case .work(let directory):
            return try LoopRun(self, loaded, companions, directory, context).run()
        }
    }

    private func loadRecipe() throws -> Recipe { try Recipe.load(path: recipe, overrides: set) }

    /// Everything that the numbers depend on but the number of iterations, which may grow.
    private func settings(_ loaded: Recipe, _ companions: [Companion]) throws -> [String: String] {
        var settings = [
            "recipe": SHA256Digest.of(try loaded.resolvedJSON()), "prompts_per_iteration": "\(promptsPerIteration)", "tokens": tokens.map { "\($0)" } ?? "",
            "group_size": "\(groupSize)", "max_tokens": "\(maxTokens)", "temperature": "\(temperature)", "eval_every": "\(evalEvery)", "reward": reward,
            "seed": "\(options.seed)", "threads": "\(options.threadCount)", "prune": "\(prune)",
        ]
        settings.merge(StopFields.metadata(texts: stop, tokens: stopTokenIds)) { $1 }
        if addSpecialTokens != "auto" { settings["add_special_tokens"] = addSpecialTokens }
        settings["memory"] = memory.map { "\($0.bytes)" }
        for companion in companions { settings["companion_" + companion.role.rawValue] = SHA256Digest.of(try companion.recipe.resolvedJSON()) }
        return settings
    }

    private func inputFiles() throws -> [Manifest.File] {
        let weights = try Folder.names(checkpoint).filter {
            $0.hasSuffix(".safetensors") || $0 == "config.json" || $0 == "tokenizer.json"
        }
        let paths = weights.map { checkpoint + "/" + $0 } + [prompts] + (heldout.map { [$0] } ?? [])
        return try paths.map { Manifest.File(path: $0, sha256: try SHA256Digest.ofFile($0)) }
    }
}
