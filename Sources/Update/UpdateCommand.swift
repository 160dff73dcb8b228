import ArgumentParser
import Files
import Foundation
import Gang
import Models
import Objectives
import Recipes
import StageSupport
import Tensors

@main
enum UpdateMain {
    static func main() { UpdateCommand.runMain() }
}

/// `plan/` and a checkpoint → `update/`: the checkpoint after the plan's optimizer steps.
struct UpdateCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "crux-update", abstract: "Trains a Hugging Face checkpoint on a plan by real gradients.",
        discussion: "crux-update apply-delta makes a checkpoint of another one and of what --delta has written.",
        version: cruxVersion)
    static let stage = "update"
    static var besides: [String: any StageCommand.Type] { ["apply-delta": ApplyDeltaCommand.self] }
    static let memoryHabit = MemoryHabit.kept

    @Option(help: "Directory of crux-plan.")
    var plan: String

    @Option(help: "Hugging Face checkpoint to train.", transform: ModelFolder.path)
    var checkpoint: String

    @Option(help: "Directory to make.")
    var output: String

    @Option(help: "Go on from the last step of another update directory: weights, masters, moments, step number.")
    var resumeFrom: String?

    @Option(help: "Keep a checkpoint every N steps (default: only the last).")
    var saveEvery: Int?

    @Option(
        help:
            "Memory to stay within, such as 8G: chooses micro-batches and what is computed twice (default: 80 % of the machine's, or of what its control group or ulimit -v allows)."
    )
    var memory: MemorySize?

    @Option(
        help:
            "Most distinct tokens computed at a time, where memory allows them (default: 8192). The gradient is the sum and doesn't depend on it."
    )
    var microBatchTokens: Int?

    @Option(
        help:
            "Folder on whose disk the optimizer's moments lie, and activations that memory can't hold (default: moments in memory, such activations computed again). The same bytes."
    )
    var offload: String?

    @Option(
        help: "Frozen reference, for objectives whose target is made of it: the teacher of distill.",
        transform: ModelFolder.path)
    var reference: String?

    @Option(help: "Q network, for objectives whose target is made of it.", transform: ModelFolder.path)
    var qNetwork: String?

    @Option(
        help:
            "Type of the written weights: stored (as the checkpoint has them) or f32, which loses nothing."
    )
    var weights = WeightType.stored

    @Option(
        help:
            "What matrix products are computed in: f32, or bf16 where the processor multiplies it (AVX-512 BF16). Weights, sums, moments stay float32."
    )
    var precision = Precision.f32

    @Flag(
        help:
            "Write beside each kept step, in delta-NNNNNN, what its weights have otherwise than --checkpoint; crux-update apply-delta makes the step of both."
    )
    var delta = false

    @Flag(
        help:
            "Share each step with the other processes of an MPI job (mpirun, srun --mpi=pmix); needs the plug-in that make mpi builds."
    )
    var mpi = false

    @OptionGroup var metrics: MetricsOption
    @OptionGroup var options: StageOptions

    func validate() throws {
        if let microBatchTokens, microBatchTokens < 1 {
            throw ValidationError("--micro-batch-tokens is \(microBatchTokens); it must be at least 1.")
        }
        if mpi, options.tasks != nil {
            throw ValidationError("--mpi takes the number of ranks from MPI; --tasks contradicts it.")
        }
        if let saveEvery, saveEvery < 1 {
            throw ValidationError("--save-every is \(saveEvery); it must be at least 1.")
        }
    }

    func runStage(_ context: StageContext) throws -> StageSummary {
        if mpi { return try runAsRank(context) }
        warnOfIdleRanks(context)
        return try run(context, LoneProcess())
    }

    /// All ranks read and check the same; the first of them opens the directory.
    func run(_ context: StageContext, _ gang: any Gang) throws -> StageSummary {
        let budget = try MemoryBudget(memory, gang)
        let update = try gang.together { try prepare(budget, gang, context) }
        try gang.requireSame("threads", "\(options.threadCount)", remedy: "Give --threads.")
        try gang.requireSame(
            "micro-batches", update.memory.fingerprint,
            remedy: "Give all ranks the same command and the same files.")
        if options.dryRun { context.say(update.memory.text) }
        // One task does the whole step.
        guard options.share.rank == 0 else { return StageSummary(["output": output, "left_to_rank_0": true]) }
        guard gang.leads else {
            guard try Self.isOpened(gang, nil) else { return .silent }
            return try run(update, in: nil, gang, context)
        }
        var isBegun = false
        let result = Result {
            try open(update, gang, context) { directory in
                isBegun = try Self.isOpened(gang, .success(true))
                return try run(update, in: directory, gang, context)
            }
        }
        if !isBegun { _ = try Self.isOpened(gang, result.map { _ in false }) }
        return try result.get()
    }

    /// Whether the directory has been opened and has something left to do: what rank 0 has found, told to all.
    private static func isOpened(_ gang: any Gang, _ found: Result<Bool, any Error>?) throws -> Bool {
        try gang.gather(gang.together { try found?.get() ?? false })[0]
    }

    /// What the command's inputs are, read and checked.
    private struct PreparedUpdate {
        let halves: HalfProducts?
        let planned: Manifest
        let recipe: Recipe
        let source: Checkpoint
        let auxiliary: [Checkpoint]
        let resume: SavedStep?
        let rows: PlanReader
        let memory: MemoryPlan
    }

    private func prepare(_ budget: MemoryBudget, _ gang: any Gang, _ context: StageContext) throws -> PreparedUpdate {
        try Undertaking.requireApart(output, places, options)
        let halves = try products(context), planned = try Manifest.finished(plan, stage: "plan")
        try planned.verify(["plan.arrow", "recipe.resolved.json"], in: plan, context)
        let recipe = try loadRecipe()
        let source = try Checkpoint(
            directory: checkpoint, as: recipe.objective.output == .value ? .critic : .languageModel)
        try requireVocabulary(of: planned, source)
        try requireAdaptable(recipe, source)
        try requireDelta(recipe, source)
        let auxiliary = try auxiliaries(recipe, source, context)
        ([source] + auxiliary).flatMap(\.notes).forEach(context.warn)
        let resume = try resumeFrom.map { try verified(SavedStep.last(in: $0), of: $0, context) }
        let rows = try PlanReader(path: plan + "/plan.arrow", source, recipe)
        try requireSteps(rows, planned, recipe, after: resume?.step ?? 0)
        let memory = try MemoryPlan(
            budget,
            PlannedRun(
                rows: rows, recipe: recipe, checkpoint: source, auxiliary: auxiliary, threads: context.threads,
                seed: context.options.seed, precision: precision, startsAfresh: resumeFrom == nil, ranks: gang.size,
                offload: offload),
            microBatchTokens: microBatchTokens)
        return PreparedUpdate(
            halves: halves, planned: planned, recipe: recipe, source: source, auxiliary: auxiliary, resume: resume,
            rows: rows, memory: memory)
    }

    /// Layers that adapters are to stand on and no layer of the checkpoint has.
    private func requireAdaptable(_ recipe: Recipe, _ source: Checkpoint) throws {
        guard let targets = recipe.trainable.adapters?.targets else { return }
        let known = source.architecture.adaptable
        guard let target = targets.first(where: { !known.contains($0) }) else { return }
        let aboutExperts = source.architecture.experts == nil ? "" : "; experts take no adapters"
        throw StageError(
            .usage,
            "trainable.targets has '\(target)'; \(checkpoint) has \(known.joined(separator: ", "))\(aboutExperts)")
    }

    /// Opens the directory and has `work` fill it.
    private func open(
        _ update: PreparedUpdate, _ gang: any Gang, _ context: StageContext,
        work: (StageDirectory) throws -> StageSummary
    ) throws -> StageSummary {
        let manifest = Manifest(
            stage: Self.stage, configuration: settings(update.memory, gang),
            inputs: [try Manifest.asInput(plan, stage: "plan")] + (try update.source.inputFiles("checkpoint"))
                + (try update.resume?.inputFiles() ?? [])
                + (try zip(["reference", "q-network"], update.auxiliary).flatMap { try $1.inputFiles($0) }))
        if let resumeFrom { try checkLineage(resumeFrom, manifest) }
        let would: [String: any Sendable] = [
            "rollouts": update.planned.counts["kept"] ?? 0, "steps": update.planned.counts["steps"] ?? 0,
            "memory": update.memory.foreseen,
        ]
        let undertaking = Undertaking(manifest, output: output, reads: places, options: options, share: .whole)
            .explaining(["recipe": try update.recipe.resolvedJSON()])
        return try undertaking.finished(when: { [metrics] in metrics.areWritten($0) })
            .run(context, would: would, work: work)
    }

    /// `directory`: rank 0's.
    private func run(
        _ update: PreparedUpdate, in directory: StageDirectory?, _ gang: any Gang, _ context: StageContext
    ) throws -> StageSummary {
        let question = try gang.together { try self.question(update, context) }
        return try UpdateRun(
            output: output, directory: directory, checkpoint: update.source, recipe: update.recipe, rows: update.rows,
            memory: update.memory, resume: update.resume, saveEvery: saveEvery, withDelta: delta, question: question,
            weights: weights, halves: update.halves, offloading: offload.map { Offloading(folder: $0) },
            metricForms: metrics, gang: gang,
            context: context
        ).run()
    }

    /// A step to go on from, held against the manifest of its directory.
    private func verified(_ step: SavedStep, of directory: String, _ context: StageContext) throws -> SavedStep {
        let manifest = try Manifest.finished(directory, stage: Self.stage)
        let folders = [step.folders.weights, step.folders.optimizer].map { ($0 as NSString).lastPathComponent + "/" }
        try manifest.verify(
            manifest.outputs.map(\.path).filter { path in folders.contains { path.hasPrefix($0) } }, in: directory,
            context)
        return step
    }

    private var places: [InputPlace] {
        [plan, checkpoint, resumeFrom, reference, qNetwork].compactMap { $0 }.map { InputPlace($0) }
    }

    /// An update is resumed on the checkpoint that it was begun on, or on its own last step: moments and masters of one
    /// model say nothing about another of the same shape.
    private func checkLineage(_ earlier: String, _ manifest: Manifest) throws {
        let weights = manifest.inputs.filter { $0.path.hasPrefix("checkpoint/") && $0.path.hasSuffix(".safetensors") }
        let known = try Manifest.finished(earlier, stage: "update")
        guard let unknown = weights.first(where: { !Lineage.knows(known, $0.sha256 ?? "") }) else { return }
        throw StageError(
            .invalidInput,
            "\(checkpoint): found \(unknown.path.dropFirst("checkpoint/".count)) that \(earlier) was neither made from nor has written, "
                + "expected the checkpoint of that update. Give --checkpoint \(try SavedStep.last(in: earlier).path), or the one it began with."
        )
    }

    /// A plan with rows, and no more steps than are counted in 32 bits.
    private func requireSteps(_ rows: PlanReader, _ planned: Manifest, _ recipe: Recipe, after done: Int) throws {
        guard rows.count > 0 else {
            guard planned.counts["jobs"] != nil, planned.counts["results"] == nil else {
                throw StageError(.nothingToLearn, "\(plan): nothing to learn from: the plan has no rows")
            }
            throw StageError(
                .invalidInput,
                "\(plan): found jobs and no rows, expected a plan to train on. Run the jobs and plan again with --jobs."
            )
        }
        let epochs = recipe.credit.schedule.epochs,
            (steps, isTooMany) = rows.stepCount.multipliedReportingOverflow(by: epochs)
        guard !isTooMany, steps <= Int(Int32.max) - done else {
            throw StageError(
                .invalidInput,
                "\(plan): found \(epochs) epochs of \(rows.stepCount) steps (schedule.epochs), expected at most \(Int32.max) steps in all"
            )
        }
    }

    /// The frozen models that the objective's target is made of: the reference, then the Q network.
    private func auxiliaries(_ recipe: Recipe, _ source: Checkpoint, _ context: StageContext) throws -> [Checkpoint] {
        let name = type(of: recipe.objective).name, teaches = recipe.objective.distillation != nil
        let readsQNetwork = recipe.objective.boltzmann?.readsQNetwork ?? false
        guard recipe.objective.boltzmann != nil || teaches else {
            if let given = reference ?? qNetwork {
                throw StageError(.usage, "\(given) was given, but objective \(name) has no target made of other models")
            }
            return []
        }
        guard let reference else {
            let what = teaches ? "its teacher" : "the frozen reference"
            throw StageError(.usage, "objective \(name) needs \(what): give --reference DIR")
        }
        if teaches, let qNetwork {
            throw StageError(.usage, "\(qNetwork) was given, but objective \(name) reads no Q network")
        }
        if readsQNetwork, qNetwork == nil {
            throw StageError(
                .usage, "objective \(name) needs a Q network: give --q-network DIR, the target of an etpo_q update")
        }
        let models = try ([reference] + (readsQNetwork ? [qNetwork ?? ""] : [])).map {
            try Checkpoint(directory: $0)
        }
        if let other = models.first(where: { $0.architecture.vocabulary != source.architecture.vocabulary }) {
            throw StageError(
                .invalidInput,
                "\(other.directory): found a vocabulary of \(other.architecture.vocabulary), expected \(source.architecture.vocabulary), that of \(checkpoint)"
            )
        }
        if teaches { try requireTokenizer(of: source, in: models[0], context) }
        return models
    }

    /// A teacher's token ids must mean what the policy's do.
    private func requireTokenizer(of source: Checkpoint, in teacher: Checkpoint, _ context: StageContext) throws {
        guard let own = try source.tokenizerDigest(), let other = try teacher.tokenizerDigest() else {
            context.warn(
                "\(source.directory) or \(teacher.directory) has no tokenizer.json: whether both have one vocabulary is "
                    + "not known, only that both have \(source.architecture.vocabulary) tokens")
            return
        }
        guard own != other else { return }
        throw StageError(
            .invalidInput,
            "\(teacher.directory): found a tokenizer.json of digest \(other.prefix(12)), expected \(own.prefix(12)), that of "
                + "\(source.directory): a teacher of another vocabulary says nothing of the policy's tokens")
    }

    private func question(_ update: PreparedUpdate, _ context: StageContext) throws -> ModelOutputKind {
        switch update.recipe.objective.output {
        case .logprob: return .logprob
        case .value: return .value
        case .tokenLogit: return .tokenLogit
        case .divergence where update.recipe.objective.distillation != nil:
            return .distillation(try teacher(update, context))
        case .divergence:
            let models = try update.auxiliary.map {
                LanguageModel($0.architecture, try $0.loadStanding(), threads: context.threads, halves: update.halves)
            }
            return .divergence(
                BoltzmannTarget(
                    reference: models[0], q: models.dropFirst().first,
                    beta: Float(update.recipe.objective.boltzmann?.beta ?? 1)))
        }
    }

    private func teacher(_ update: PreparedUpdate, _ context: StageContext) throws -> Teacher {
        guard let checkpoint = update.auxiliary.first, let settings = update.recipe.objective.distillation else {
            throw StageError(.usage, "objective distill needs its teacher: give --reference DIR")
        }
        let model = LanguageModel(
            checkpoint.architecture, try checkpoint.loadStanding(), threads: context.threads, halves: update.halves)
        return Teacher(model, settings.teacherDivergence)
    }

    private func requireVocabulary(of planned: Manifest, _ source: Checkpoint) throws {
        guard let vocabulary = planned.counts["vocabulary"], vocabulary != source.architecture.vocabulary else {
            return
        }
        throw StageError(
            .invalidInput,
            "\(checkpoint): found a vocabulary of \(source.architecture.vocabulary), expected \(vocabulary), that of the dump's logits. Give the checkpoint that sampled the dump."
        )
    }

    /// A delta is between files of the same tensors.
    private func requireDelta(_ recipe: Recipe, _ source: Checkpoint) throws {
        guard delta else { return }
        if recipe.trainable.adapters != nil {
            throw StageError(
                .usage,
                "--delta: the recipe trains adapters, which hold nothing but what changed; expected trainable full")
        }
        if source.hasFreshValueHead {
            throw StageError(
                .usage,
                "--delta: \(checkpoint) gets a value head that none of its files has; expected a critic's checkpoint")
        }
        if weights == .f32, source.needsMasters {
            throw StageError(
                .usage,
                "--delta: --weights f32 gives the tensors of \(checkpoint) another type; expected one of the two")
        }
    }

    /// Rounding differs between numbers of threads and of ranks, and between micro-batches, so a half-done update must
    /// go on with the same.
    private func settings(_ memory: MemoryPlan, _ gang: any Gang) -> [String: String] {
        var settings = ["threads": "\(options.threadCount)", "micro_batches": memory.fingerprint]
        if !gang.isAlone { settings["ranks"] = "\(gang.size)" }
        settings["save_every"] = saveEvery.map { "\($0)" }
        if weights != .stored { settings["weights"] = weights.rawValue }
        if delta { settings["delta"] = "true" }
        if precision != .f32 { settings["precision"] = precision.rawValue }
        return settings
    }

    private func products(_ context: StageContext) throws -> HalfProducts? {
        do {
            let halves = try precision.products()
            if let warning = precision.slownessWarning { context.warn(warning) }
            return halves
        } catch let error as NoHalfProducts {
            throw StageError(.usage, "--precision \(precision.rawValue): \(error)")
        }
    }

    private func loadRecipe() throws -> Recipe { try Recipe.load(path: plan + "/recipe.resolved.json") }
}

extension Distill {
    /// As the model's head computes it.
    fileprivate var teacherDivergence: TeacherDivergence {
        var found = TeacherDivergence(kind, chosen: topK)
        found.support =
            switch support {
            case .full: .all
            case .teacher: .teacher
            case .student: .student
            }
        found.rest =
            switch tail {
            case .bucket: .bucket
            case .renormalize: .renormalized
            case .drop: .dropped
            }
        return found
    }

    private var kind: TeacherDivergence.Kind {
        switch divergence {
        case .forward: .directions(share: 1)
        case .reverse: .directions(share: 0)
        case .mixed: .directions(share: mix)
        case .jsd: beta == 0 || beta == 1 ? .directions(share: 1 - beta) : .jensenShannon(beta: beta)
        }
    }
}

extension WeightType: ExpressibleByArgument {}
extension Precision: ExpressibleByArgument {}

extension Checkpoint {
    /// Configuration and weights, by digest.
    func inputFiles(_ role: String) throws -> [Manifest.File] { try inputPaths.map { try .input(role, $0) } }
}

extension Checkpoint {
    /// Of its tokenizer.json; nil where it has none.
    fileprivate func tokenizerDigest() throws -> String? {
        let path = directory + "/tokenizer.json"
        return try fileExists(path) ? Manifest.describe("tokenizer.json", in: directory).sha256 : nil
    }
}
