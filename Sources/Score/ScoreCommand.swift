import ArgumentParser
import Arrow
import Files
import Formats
import Foundation
import FrameMeasures
import Models
import Rewards
import StageSupport
import Tensors
import Tokenizer

@main
enum ScoreMain {
    static func main() {
        // Asks for nothing else, so it can't wait for the flags that every run needs.
        if CommandLine.arguments.dropFirst() == ["--list-families"] {
            print(ModelRegistry.listing)
            exit(0)
        }
        ScoreCommand.runMain()
    }
}

/// `ingest/` → `score/`: each token's entropy and log-probability, each rollout's reward; same rows, same order.
struct ScoreCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "crux-score", abstract: "Scores each token's entropy and each rollout's reward.",
        version: cruxVersion)
    static let stage = "score"

    @Option(help: "Directory of crux-ingest.")
    var input: String

    @Option(help: "Directory to make.")
    var output: String

    @Flag(help: "Print every kind of model that can be read, by its config.json's model_type, and stop. Goes alone.")
    var listFamilies = false

    @Option(help: "Reward: \(RewardRegistry.names.joined(separator: ", ")) (default: \(AutomaticReward.name)).")
    var reward: String?

    @Option(
        help:
            "Program that judges in JSON lines, as a shell command. With --reward it gets the rows which that leaves undecided, else all."
    )
    var rewardCommand: String?

    @Option(
        help:
            "NAME=COMMAND: a further program that judges in JSON lines; its score becomes the reward of that name, for reward.components. May be repeated."
    )
    var judge: [String] = []

    @Option(help: "Processes of the reward command (default: --threads).")
    var rewardWorkers: Int?

    @Option(help: "Seconds that one answer may take.")
    var rewardTimeout = 30.0

    @Option(help: "What a row is worth whose judge hung, died or failed: null, zero, or fail to end the run.")
    var onRewardFailure = RewardFailure.null

    @Option(
        help:
            "Policy, a checkpoint or an update directory: recomputes old_logprobs, and entropy without logits.",
        transform: ModelFolder.path)
    var checkpoint: String?

    @Option(help: "Checkpoint of the frozen reference: fills reference_logprobs.", transform: ModelFolder.path)
    var reference: String?

    @Option(
        help:
            "Checkpoint of a teacher, the policy itself too: fills teacher_logprobs, behind teacher_prompt_ids or teacher_prompt where the dump has them.",
        transform: ModelFolder.path)
    var teacher: String?

    @Option(
        help:
            "What --teacher reads before the prompt, where the dump says nothing: demonstration (a right rollout of the group, other than the one that is scored) or answer (the reference answer)."
    )
    var privileged: Privileged?

    @Option(
        help: "Text of that, with {demonstration} or {answer} in it; chat models want the marks of their own template."
    )
    var privilegedTemplate: String?

    @Option(help: "Critic (or a language model to become one): fills values.", transform: ModelFolder.path)
    var critic: String?

    @Option(help: "Implicit reward model: fills process_logprobs.", transform: ModelFolder.path)
    var processReward: String?

    @Option(
        help: "Frozen model that the implicit reward model is measured against: fills process_reference_logprobs.",
        transform: ModelFolder.path)
    var processReference: String?

    @Option(
        help: "Target Q network; with --checkpoint and --reference it fills expected_q.", transform: ModelFolder.path)
    var qNetwork: String?

    @Option(
        help:
            "Also write the K most likely tokens of each position and their log-probabilities, where the dump has logits."
    )
    var topK = 0

    @Flag(help: "Also write the sum of squared probabilities of each position, where the dump has logits.")
    var sumPSquared = false

    @Flag(
        help:
            "Take distributions over the whole vocabulary, also where the dump says which tokens could be drawn (top-p, top-k)."
    )
    var ignoreSupport = false

    @Flag(help: "Let the checkpoint's routers choose experts, also where the dump says which ones the sampler's took.")
    var ignoreRoutedExperts = false

    @Option(
        help:
            "What the checkpoints' matrix products are computed in: f32, or bf16 where the processor multiplies it (AVX-512 BF16)."
    )
    var precision = Precision.f32

    @OptionGroup var memory: MemoryOption

    @OptionGroup var options: StageOptions

    /// Programs by the names of their rewards.
    var judges: [(name: String, command: String)] {
        get throws {
            let named = judge.map { $0.split(separator: "=", maxSplits: 1).map(String.init) }
            for (text, parts) in zip(judge, named) where parts.count != 2 || parts[0].isEmpty || text.hasPrefix("=") {
                throw ValidationError("--judge is '\(text)'; it must be NAME=COMMAND.")
            }
            let names = named.map { $0[0] }
            if let twice = names.first(where: { name in names.count { $0 == name } > 1 }) {
                throw ValidationError("--judge \(twice) is there twice; names must differ.")
            }
            if names.contains("correct") {
                throw ValidationError(
                    "--judge correct: that is the name of the reward that --reward gives; take another.")
            }
            return named.map { ($0[0], $0[1]) }
        }
    }

    private var paths: ModelPaths {
        ModelPaths(
            checkpoint: checkpoint, reference: reference, teacher: teacher, critic: critic,
            processReward: processReward,
            processReference: processReference, qNetwork: qNetwork)
    }

    func validate() throws {
        guard !listFamilies else { throw ValidationError("--list-families goes alone: crux-score --list-families") }
        if precision != .f32, paths.all.isEmpty {
            throw ValidationError("--precision \(precision.rawValue) is for checkpoints, and none was given.")
        }
        if let reward, RewardRegistry.named(reward) == nil {
            throw ValidationError("--reward is '\(reward)'; known: \(RewardRegistry.names.joined(separator: ", ")).")
        }
        _ = try judges
        if let rewardWorkers, rewardWorkers < 1 {
            throw ValidationError("--reward-workers is \(rewardWorkers); it must be at least 1.")
        }
        guard rewardTimeout > 0 else {
            throw ValidationError("--reward-timeout is \(rewardTimeout); it must be above 0.")
        }
        guard (0...RolloutFrameReader.maximumTopK).contains(topK) else {
            throw ValidationError("--top-k is \(topK); it must be 0 (none) to \(RolloutFrameReader.maximumTopK).")
        }
        try checkPrivileged()
        if qNetwork != nil, checkpoint == nil || reference == nil {
            throw ValidationError(
                "--q-network needs --checkpoint and --reference: what it says is averaged over the policy's distribution."
            )
        }
    }

    private func checkPrivileged() throws {
        guard let privileged else {
            guard privilegedTemplate == nil else {
                throw ValidationError("--privileged-template is the text of --privileged: give that too.")
            }
            return
        }
        guard teacher != nil else {
            throw ValidationError("--privileged \(privileged.rawValue) is what --teacher reads: give that too.")
        }
        if let privilegedTemplate, !privilegedTemplate.contains(privileged.placeholder) {
            throw ValidationError(
                "--privileged-template has no \(privileged.placeholder), where --privileged \(privileged.rawValue) goes."
            )
        }
        if privileged == .demonstration, rewardCommand != nil {
            throw ValidationError(
                "--privileged demonstration judges all rollouts before it scores them, and --reward-command would be asked twice: give a --reward, or teacher_prompt in the dump."
            )
        }
    }

    /// What a teacher reads; nil without one.
    private func teacherPrompts(_ names: [String], _ judge: Judge, _ context: StageContext) throws -> TeacherPrompts? {
        guard let teacher else { return nil }
        let folder = try ModelSource(teacher, as: .languageModel, target: false, flag: "--teacher").checkpoint.directory
        let tokenizer = try fileExists(folder + "/tokenizer.json") ? Tokenizer(path: folder) : nil
        guard privileged == .demonstration else {
            return TeacherPrompts(folder, tokenizer: tokenizer, privileged, template: privilegedTemplate, nil)
        }
        let shown = try Demonstrations(names.map { input + "/" + $0 }, judge: judge, context)
        context.say(
            "demonstrations: \(shown.groups - shown.groupsWithout) of \(shown.groups) groups have a right rollout to show"
        )
        return TeacherPrompts(folder, tokenizer: tokenizer, privileged, template: privilegedTemplate, shown)
    }

    func runStage(_ context: StageContext) throws -> StageSummary {
        let places = [input] + paths.all
        try Undertaking.requireApart(output, places.map { InputPlace($0) }, options)
        let ingest = try Manifest.finished(input, stage: "ingest"),
            names = ingest.outputs.map(\.path).filter { $0.hasPrefix("rollouts-") }
        let files = DumpFiles(ingest: input, ingest)
        if options.dryRun || options.overwrite { try check(names, files) }
        let policies = try ScoringModels(paths, threads: context.threads, halves: try products(context))
        policies.fileNotes.forEach(context.warn)
        try TeacherVocabulary(policies, input, ingest).check(context)
        if policies.hasFreshCritic {
            context.warn(
                "\(critic ?? "") has no value head: its values are all 0, those of a critic that has learned nothing")
        }
        let plan = Manifest(
            stage: Self.stage, configuration: settings(context),
            inputs: [try Manifest.asInput(input, stage: "ingest")] + (try policies.inputFiles())
                + (try teacherTokenizer()))
        try policies.notes().forEach(context.say)
        let undertaking = Undertaking(plan, output: output, reads: places.map { InputPlace($0) }, options: options)
        return try undertaking.run(context, would: ["rollouts": ingest.counts["rollouts"] ?? 0]) { directory in
            let judge = try Judge(self, log: directory.workPath + "/reward-command-\(options.share.rank).log", context)
            defer { judge.close() }
            var summary = try ScoreRun(
                directory: directory, ingest: input, manifest: ingest, names: names, files: files, judge: judge,
                policies: policies, prompts: try teacherPrompts(names, judge, context),
                wanted: DistributionColumns(topK: topK, sumPSquared: sumPSquared),
                ignoresSupport: ignoreSupport, ignoresRoutes: ignoreRoutedExperts,
                memory: PlaneMemory(budget: memory.bytes, threads: context.threads), context: context
            ).run()
            if let policy = policies.checkpoint { summary.fields["policy_weights"] = policy.source.kind }
            return summary
        }
    }

    /// What a run would find only when its turn comes: every table, and every file of logits that one of its rows
    /// points into.
    private func check(_ names: [String], _ files: DumpFiles) throws {
        for name in names {
            let table = try ArrowTableReader(path: input + "/" + name, table: Tables.rollouts).reading(["logits_path"])
            var paths: Set<String> = []
            try table.forEachRow { paths.insert($0.logitsPath) }
            for path in paths.sorted() where !path.isEmpty { _ = try files.file(path) }
            files.letGo()
        }
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

    /// Files that a teacher's prompts depend on.
    private func teacherTokenizer() throws -> [Manifest.File] {
        guard let teacher else { return [] }
        let folder = try ModelSource(teacher, as: .languageModel, target: false, flag: "--teacher").checkpoint.directory
        return try Tokenizer.inputPaths(folder).map { try .input("teacher-tokenizer", $0) }
    }

    private func settings(_ context: StageContext) -> [String: String] {
        var settings = ["reward": reward ?? (rewardCommand == nil ? AutomaticReward.name : "")]
        // What models say differs in its last bits between thread counts.
        if !paths.all.isEmpty { settings["threads"] = "\(context.threads)" }
        if precision != .f32 { settings["precision"] = precision.rawValue }
        settings["reward_command"] = rewardCommand
        for judge in (try? judges) ?? [] { settings["judge_" + judge.name] = judge.command }
        if rewardCommand != nil || !judge.isEmpty { settings["on_reward_failure"] = onRewardFailure.rawValue }
        if let privileged {
            settings["privileged"] = privileged.rawValue
            settings["privileged_template"] = privilegedTemplate ?? privileged.template
        }
        if topK > 0 { settings["top_k"] = "\(topK)" }
        if sumPSquared { settings["sum_p_squared"] = "true" }
        if ignoreSupport { settings[ScoredSupport.key] = ScoredSupport.ignored.rawValue }
        if ignoreRoutedExperts { settings[ScoredRoutes.key] = ScoredRoutes.ignored.rawValue }
        return settings
    }
}

extension Precision: ExpressibleByArgument {}
