import ArgumentParser
import ChatPrompts
import Files
import Formats
import Foundation
import Recipes
import SlurmJobs
import StageSupport

@main
enum LoopMain {
    static func main() { LoopCommand.runMain() }
}

/// What crux-update's --weights takes.
enum WrittenWeights: String, ExpressibleByArgument, CaseIterable { case stored, f32 }

/// What the stages that run models take as --precision.
enum ProductPrecision: String, ExpressibleByArgument, CaseIterable { case f32, bf16 }

/// What crux-rollout alone takes as --precision.
enum SamplingPrecision: String, ExpressibleByArgument, CaseIterable {
    case f32, bf16
    case bf16Weights = "bf16-weights"
    case bf16AMX = "bf16-amx"
}

/// Again and again: rollout → ingest → score → plan → (jobs → rollout → ingest → score → plan) → update.
struct LoopCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "crux-loop", abstract: "Trains a checkpoint over many iterations, each from new rollouts.",
        version: cruxVersion)
    static let stage = "loop"

    @Option(help: "Recipe (YAML).")
    var recipe: String

    @Option(help: "Change a key of the recipe, such as optimizer.lr=1e-5; may be repeated.")
    var set: [String] = []

    @Option(
        help:
            "Recipe of a model that learns beside the policy (a critic, a reward model, a Q network), from the same start; may be repeated."
    )
    var companion: [String] = []

    @Option(help: "Change a key of the companions' recipes; may be repeated.")
    var companionSet: [String] = []

    @Option(help: "Hugging Face checkpoint to start from.", transform: ModelFolder.path)
    var checkpoint: String

    @Option(
        help:
            "Checkpoint that stands still beside the policy, as a teacher or for KL penalties; without it the one that the loop starts from.",
        transform: ModelFolder.path)
    var reference: String?

    @Option(
        help:
            "Self-distillation: the policy itself teaches, told demonstration or answer as crux-score --privileged has it."
    )
    var privileged: String?

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

    @Option(
        help:
            "Tokens to sample per iteration, jobs included: the number of prompts follows from what prompts cost so far."
    )
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

    @OptionGroup var chats: ChatOptions

    @Option(help: "Measure on the held-out prompts every N iterations, and at the start and the end.")
    var evalEvery = 1

    @Option(help: "Rollouts of each held-out prompt to measure by.")
    var heldoutSamples = 1

    @Flag(help: "Measure at temperature 0 too.")
    var heldoutGreedy = false

    @Option(help: "Rollouts computed at a time.")
    var batch = 32

    @Option(help: "Rollouts per shard file: what tasks of an array share are shards.")
    var rolloutsPerShard = LoopCommand.usualRolloutsPerShard

    /// What loops had before there was a choice.
    private static let usualRolloutsPerShard = 4096

    @Option(help: "Reward, as crux-score takes it.")
    var reward = "auto"

    @Option(help: "Memory that updates stay within, as crux-update takes it.")
    var memory: MemorySize?

    @Option(help: "Folder on whose disk updates put their moments, as crux-update takes it.")
    var offload: String?

    @Option(
        help:
            "Type of the weights that updates write and iterations sample from: stored or f32, as crux-update takes it."
    )
    var weights = WrittenWeights.stored

    @Option(
        help:
            "What products of models are computed in, as crux-rollout, crux-score and crux-update take it: f32 or bf16."
    )
    var precision = ProductPrecision.f32

    @Option(
        help:
            "What rollouts are sampled in, where that is to be another precision than the other stages': f32, bf16, bf16-weights or bf16-amx."
    )
    var rolloutPrecision: SamplingPrecision?

    @Flag(help: "Keep of past iterations only what goes into the table.")
    var prune = false

    @Flag(help: "Run the stages as Slurm's jobs, from a light process that submits them and waits.")
    var slurm = false

    @Option(help: "Slurm: seconds between two looks at the queue.")
    var pollSeconds = 5

    @OptionGroup var jobs: SlurmOptions
    @OptionGroup var metrics: MetricsOption
    @OptionGroup var options: StageOptions

    func validate() throws {
        guard privileged.map({ ["demonstration", "answer"].contains($0) }) ?? true else {
            throw ValidationError("--privileged is '\(privileged ?? "")'; it must be demonstration or answer.")
        }
        let sizes = [
            ("--iterations", iterations), ("--prompts-per-iteration", promptsPerIteration), ("--group-size", groupSize),
            ("--max-tokens", maxTokens),
            ("--eval-every", evalEvery), ("--batch", batch), ("--tokens", tokens ?? 1),
            ("--heldout-samples", heldoutSamples), ("--rollouts-per-shard", rolloutsPerShard),
            ("--poll-seconds", pollSeconds),
        ]
        for (name, value) in sizes where value < 1 {
            throw ValidationError("\(name) is \(value); it must be at least 1.")
        }
        guard !stop.contains("") else { throw ValidationError("--stop is empty; it would end every rollout at once.") }
        guard ["auto", "always", "never"].contains(addSpecialTokens) else {
            throw ValidationError("--add-special-tokens is '\(addSpecialTokens)'; known: auto, always, never.")
        }
        guard temperature > 0, temperature.isFinite else {
            throw ValidationError("--temperature is \(temperature); it must be above 0.")
        }
        guard slurm || !jobs.areGiven else {
            throw ValidationError("Flags of Slurm's jobs (--array, --partition, --time, …) need --slurm.")
        }
    }

    func runStage(_ context: StageContext) throws -> StageSummary {
        try Undertaking.requireApart(output, places, options)
        let loaded = try loadRecipe(),
            auxiliaries = try companion.map { try AuxiliaryModel(path: $0, overrides: companionSet) }
        if let adapters = loaded.trainable.adapters, !adapters.merged {
            throw StageError(
                .usage, "\(recipe) trains adapters: a loop samples from them merged; give --set trainable.merged=true")
        }
        let missing = ModelNeeds([loaded] + auxiliaries.map(\.recipe)).missing(auxiliaries)
        guard missing.isEmpty else {
            throw StageError(
                .usage,
                "\(recipe) reads what a second model says: give \(missing.map { "--companion \($0)" }.joined(separator: " "))"
            )
        }
        try requireReferenceIsRead([loaded] + auxiliaries.map(\.recipe))
        // One task runs the stages of all iterations.
        guard options.share.rank == 0 else { return StageSummary(["output": output, "left_to_rank_0": true]) }
        let plan = Manifest(
            stage: Self.stage, configuration: try settings(loaded, auxiliaries), inputs: try inputFiles())
        let wanted = iterations, resolved = try loaded.resolvedJSON()
        let undertaking = Undertaking(plan, output: output, reads: places, options: options, share: .whole)
            .explaining(try documents(resolved, auxiliaries)).finished {
                [metrics] in ($0.counts["iterations"] ?? 0) >= wanted && metrics.areWritten($0)
            }
        if options.dryRun || options.overwrite { try checkSampling(context) }
        return try undertaking.run(context, would: ["iterations": iterations, "recipe": resolved]) { directory in
            try LoopRun(self, loaded, auxiliaries, directory, context).run()
        }
    }

    /// What stands still beside the policy.
    var standing: String { reference ?? checkpoint }

    private func requireReferenceIsRead(_ recipes: [Recipe]) throws {
        if let privileged, !ModelNeeds(recipes).needsTeacher {
            throw StageError(
                .usage,
                "--privileged \(privileged): nothing in \(recipe) reads a teacher; leave the flag out, or use a recipe with "
                    + "advantage.teacher")
        }
        guard let reference, !ModelNeeds(recipes).readsReference else { return }
        throw StageError(
            .usage,
            "--reference \(reference): nothing in \(recipe) reads a reference or a teacher; leave the flag out, or use a recipe that does (kl, advantage.teacher, objective distill)"
        )
    }

    /// Threads of the stages: where jobs run them, this machine's processors say nothing.
    var stageThreads: Int { slurm ? options.threads ?? jobs.processors(of: .update) ?? 1 : options.threadCount }

    /// What runs the stages.
    func runner(_ context: StageContext) -> any StageRunner {
        guard slurm else { return SiblingStages(context) }
        return SlurmStages(root: output, jobs, threads: stageThreads, pollSeconds: pollSeconds, context)
    }

    private var places: [InputPlace] {
        ([recipe, checkpoint, prompts] + companion + [heldout, reference].compactMap { $0 }).map { InputPlace($0) }
    }

    /// By their keys in the configuration.
    private func documents(_ resolved: String, _ auxiliaries: [AuxiliaryModel]) throws -> [String: String] {
        try auxiliaries.reduce(into: ["recipe": resolved]) {
            $0["companion_" + $1.role.rawValue] = try $1.recipe.resolvedJSON()
        }
    }

    /// What the first stage would say of the checkpoint and the prompts.
    private func checkSampling(_ context: StageContext) throws {
        for file in [prompts] + [heldout].compactMap({ $0 }) {
            let arguments =
                [
                    "--checkpoint", checkpoint, "--prompts", file, "--output", output + "/iteration-0001/rollout",
                    "--dry-run",
                ] + samplingPrecision + chats.flags
            try SiblingStages(context).run("crux-rollout", arguments)
        }
    }

    /// Named where it isn't what crux-rollout does by itself.
    var samplingPrecision: [String] {
        let name = rolloutPrecision?.rawValue ?? precision.rawValue
        return name == SamplingPrecision.f32.rawValue ? [] : ["--precision", name]
    }

    private func loadRecipe() throws -> Recipe { try Recipe.load(path: recipe, overrides: set) }

    /// Everything that the numbers depend on but the number of iterations, which may grow.
    private func settings(_ loaded: Recipe, _ auxiliaries: [AuxiliaryModel]) throws -> [String: String] {
        var settings = [
            "recipe": SHA256Digest.of(try loaded.resolvedJSON()), "prompts_per_iteration": "\(promptsPerIteration)",
            "tokens": tokens.map { "\($0)" } ?? "",
            "group_size": "\(groupSize)", "max_tokens": "\(maxTokens)", "temperature": "\(temperature)",
            "eval_every": "\(evalEvery)", "reward": reward,
            "seed": "\(options.seed)", "threads": "\(stageThreads)", "prune": "\(prune)",
        ]
        settings.merge(StopFields.metadata(texts: stop, tokens: stopTokenIds)) { $1 }
        if addSpecialTokens != "auto" { settings["add_special_tokens"] = addSpecialTokens }
        settings.merge(chats.settings) { $1 }
        // Named where they differ from what loops did before there was a choice, so that those still go on.
        if heldoutSamples > 1 { settings["heldout_samples"] = "\(heldoutSamples)" }
        if heldoutGreedy { settings["heldout_greedy"] = "true" }
        settings["privileged"] = privileged
        settings["memory"] = memory.map { "\($0.bytes)" }
        // Where the folder lies changes nothing; that there is one leaves more memory to the passes.
        settings["offload"] = offload.map { _ in "true" }
        if weights != .stored { settings["weights"] = weights.rawValue }
        if precision != .f32 { settings["precision"] = precision.rawValue }
        settings["rollout_precision"] = rolloutPrecision?.rawValue
        if rolloutsPerShard != Self.usualRolloutsPerShard { settings["rollouts_per_shard"] = "\(rolloutsPerShard)" }
        for auxiliary in auxiliaries {
            settings["companion_" + auxiliary.role.rawValue] = SHA256Digest.of(try auxiliary.recipe.resolvedJSON())
        }
        return settings
    }

    private func inputFiles() throws -> [Manifest.File] {
        let models = [("checkpoint", checkpoint)] + (reference.map { [("reference", $0)] } ?? [])
        return try models.flatMap { try modelFiles($0.0, in: $0.1) }
            + [try .input("prompts", prompts)] + (try heldout.map { [try .input("heldout", $0)] } ?? [])
    }

    private func modelFiles(_ role: String, in folder: String) throws -> [Manifest.File] {
        let names = ["config.json", "generation_config.json", "tokenizer.json"]
        return try Folder.names(folder).filter { $0.hasSuffix(".safetensors") || names.contains($0) }.map {
            try .input(role, folder + "/" + $0)
        }
    }
}
