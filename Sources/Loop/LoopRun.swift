import Arrow
import Files
import Formats
import Foundation
import LearningCurves
import MetricFiles
import Recipes
import StageSupport

/// Iteration by iteration, each in a directory of its own with a record at its end: a killed loop goes on with the
/// first iteration that has none, whose stages go on where they stopped.
struct LoopRun {
    private let command: LoopCommand
    private let recipe: Recipe
    private let auxiliaries: [AuxiliaryModel]
    private let needs: ModelNeeds
    private let directory: StageDirectory
    private let context: StageContext
    private let stages: any StageRunner

    init(
        _ command: LoopCommand, _ recipe: Recipe, _ auxiliaries: [AuxiliaryModel], _ directory: StageDirectory,
        _ context: StageContext
    ) {
        (self.command, self.recipe, self.auxiliaries, self.directory, self.context) = (
            command, recipe, auxiliaries, directory, context
        )
        needs = ModelNeeds([recipe] + auxiliaries.map(\.recipe))
        stages = command.runner(context)
    }

    func run() throws -> StageSummary {
        let prompts = try PromptLines(command.prompts)
        var records: [LoopRow] = []
        let progress = ProgressLine(context, total: command.iterations, unit: "iterations")
        for number in 0...command.iterations {
            let iteration = Iteration(number: number, root: directory.path)
            let record = try iteration.record() ?? run(iteration, prompts, after: records)
            records.append(record)
            if number > 0 { progress.advance() }
            try writeCurves(records)
        }
        return try finish(records)
    }

    private func run(_ iteration: Iteration, _ prompts: PromptLines, after records: [LoopRow]) throws -> LoopRow {
        // The stages' directories in it are emptied by what their own manifests name.
        try directory.note([iteration.name + "/", iteration.name + "/record.json", iteration.name + "/prompts.jsonl"])
        try iteration.createFolder()
        var row = LoopRow()
        row.iteration = Int32(iteration.number)
        if iteration.number > 0 { try learn(iteration, prompts, after: records, &row) }
        if isMeasured(iteration.number) { try measure(iteration, &row) }
        try iteration.save(row)
        if command.prune { try prune(before: iteration) }
        context.say(describe(row), fields(row))
        return row
    }

    /// All that came before but what the next iteration starts from.
    private func prune(before iteration: Iteration) throws {
        let needed = Set(
            try (["update"] + auxiliaries.map(\.updateName)).compactMap { try iteration.trained($0)?.number })
        for number in 0..<max(0, iteration.number) where !needed.contains(number) {
            try Iteration(number: number, root: directory.path).prune()
        }
    }

    private func isMeasured(_ number: Int) -> Bool { number % command.evalEvery == 0 || number == command.iterations }

    // MARK: one iteration

    private var threads: [String] { ["--threads", "\(command.stageThreads)"] }
    /// Named where it isn't what stages do by themselves.
    private var precision: [String] {
        command.precision == .f32 ? [] : ["--precision", command.precision.rawValue]
    }
    /// Limits of an update, and what it writes.
    private var limits: [String] {
        threads + precision + (command.weights == .stored ? [] : ["--weights", command.weights.rawValue])
            + (command.memory.map { ["--memory", "\($0.bytes >> 10)K"] } ?? [])
            + (command.offload.map { ["--offload", $0] } ?? [])
    }

    /// A seed for each use, the same on every run.
    private func seed(_ iteration: Iteration, _ use: String) -> [String] {
        let digest = SHA256Digest.of("\(command.options.seed)/\(iteration.number)/\(use)")
        return ["--seed", "\(UInt64(digest.prefix(15), radix: 16) ?? 0)"]
    }

    private func checkpoint(_ iteration: Iteration) throws -> String {
        guard let trained = try iteration.trained() else { return command.checkpoint }
        return try trained.lastStep() + (recipe.trainable.adapters == nil ? "" : "/merged")
    }

    /// The policy that the next update starts with, where that is not what the files hold: scoring takes its
    /// log-probabilities.
    private func trainer(after iteration: Iteration) throws -> String? {
        guard let trained = try iteration.trained(),
            try trained.manifest("update", stage: "update").counts["rounded_tensors"] ?? 0 > 0
        else { return nil }
        return trained.path("update")
    }

    private func learn(_ iteration: Iteration, _ prompts: PromptLines, after records: [LoopRow], _ row: inout LoopRow)
        throws
    {
        let before = iteration.before, policy = try checkpoint(before)
        let first = records.reduce(0) { $0 + Int($1.prompts) }, count = promptCount(after: records)
        try AtomicFile.write(prompts.lines(from: first, count: count), to: iteration.path("prompts.jsonl"))
        row.prompts = Int64(count)
        try sample(
            iteration, "rollout", policy,
            [
                "--prompts", iteration.path("prompts.jsonl"), "--group-size", "\(command.groupSize)", "--max-tokens",
                "\(command.maxTokens)",
            ])
        let trainer = try trainer(after: before)
        try ingestAndScore(
            iteration, "", [],
            needs.flags(
                policy: policy, trainer: trainer, privileged: command.privileged, start: command.checkpoint,
                reference: command.standing,
                auxiliaries: auxiliaries, before: before))
        try addSampled(iteration, "rollout", &row)
        try addScored(iteration, "score", &row)
        let isPlanned = try plan(iteration, policy, trainer, &row)
        // From the scores of before: the policy's advantages and the companions' targets are of one moment.
        for auxiliary in auxiliaries { try teach(auxiliary, iteration) }
        guard isPlanned else { return }
        try update(iteration, policy)
        try addTrained(iteration, &row)
    }

    /// False where there is nothing to learn from: the policy stays as it is, and the next iteration samples again.
    private func plan(
        _ iteration: Iteration, _ policy: String, _ trainer: String?, _ row: inout LoopRow
    ) throws -> Bool {
        var inputs = ["--input", iteration.path("ingest"), "--scores", iteration.path("score")]
        if recipe.credit.expansion != nil {
            guard let expanded = try expand(iteration, policy, trainer, inputs, &row) else { return false }
            inputs = expanded
        }
        return try runPlan(
            iteration, inputs + planSettings(iteration) + ["--output", iteration.path("plan")] + threads)
    }

    private func runPlan(_ iteration: Iteration, _ arguments: [String], isNeeded: Bool = true) throws -> Bool {
        do { try stages.run("crux-plan", arguments) } catch let error as StageError
            where error.status == .nothingToLearn
        {
            guard isNeeded else { return false }
            let reason = error.description.components(separatedBy: "error: ").last ?? error.description
            context.warn("iteration \(iteration.number) goes on without an update: \(reason)")
            return false
        }
        return true
    }

    private func teach(_ auxiliary: AuxiliaryModel, _ iteration: Iteration) throws {
        let source = [
            "--input", iteration.path("ingest"), "--scores", iteration.path("score"), "--recipe", auxiliary.path,
        ]
        let settings = auxiliary.overrides.flatMap { ["--set", $0] } + seed(iteration, auxiliary.planName)
        guard try runPlan(iteration, source + settings + ["--output", iteration.path(auxiliary.planName)]) else {
            return
        }
        let trained = try iteration.before.trained(auxiliary.updateName)
        let resume = trained.map { ["--resume-from", $0.path(auxiliary.updateName)] } ?? []
        try stages.run(
            "crux-update",
            [
                "--plan", iteration.path(auxiliary.planName), "--checkpoint",
                try auxiliary.checkpoint(after: iteration.before, start: command.checkpoint), "--output",
                iteration.path(auxiliary.updateName),
            ] + resume + limits)
    }

    /// Models that stand still beside the policy in its update.
    private func frozen(_ iteration: Iteration) throws -> [String] {
        if recipe.objective.distillation != nil { return ["--reference", command.standing] }
        guard let settings = recipe.objective.boltzmann else { return [] }
        let q = try auxiliaries.filter { settings.readsQNetwork && $0.role == .qNetwork }.flatMap {
            ["--q-network", try $0.auxiliary(after: iteration.before, start: command.checkpoint)]
        }
        return ["--reference", command.standing] + q
    }

    /// Jobs out and home again; returns the inputs of the plan that trains, nil where there is nothing to go back into.
    private func expand(
        _ iteration: Iteration, _ policy: String, _ trainer: String?, _ inputs: [String], _ row: inout LoopRow
    ) throws -> [String]? {
        var inputs = inputs
        for round in 1...(recipe.credit.expansion?.rounds ?? 1) {
            let name = round == 1 ? "expansion" : "expansion-\(round)", jobs = iteration.path(name + "/jobs")
            let output = ["--tokenizer", command.checkpoint, "--output", iteration.path(name)]
            // Later rounds may find nothing more to go back into.
            guard try runPlan(iteration, inputs + planSettings(iteration) + output, isNeeded: round == 1) else {
                return round == 1 ? nil : inputs + ["--last-round"]
            }
            try sample(iteration, name + "-rollout", policy, ["--jobs", jobs])
            try ingestAndScore(iteration, name + "-", ["--jobs", jobs], trainer.map { ["--checkpoint", $0] } ?? [])
            try addSampled(iteration, name + "-rollout", &row)
            inputs = [
                "--input", iteration.path(name + "-ingest"), "--scores", iteration.path(name + "-score"), "--jobs",
                jobs,
            ]
        }
        return inputs
    }

    private func planSettings(_ iteration: Iteration) -> [String] {
        let endTokens =
            recipe.credit.excludesEndTokens && recipe.credit.expansion == nil
            ? ["--tokenizer", command.checkpoint] : []
        return ["--recipe", command.recipe] + command.set.flatMap { ["--set", $0] } + seed(iteration, "plan")
            + endTokens
    }

    /// Logits are kept where the recipe wants to see entropies.
    private func sample(_ iteration: Iteration, _ name: String, _ policy: String, _ source: [String]) throws {
        let needsLogits = needs.needsLogits || recipe.credit.expansion?.readsEntropy == true
        let version = try iteration.before.trained()?.number ?? 0
        try stages.run(
            "crux-rollout",
            [
                "--checkpoint", policy, "--output", iteration.path(name), "--temperature", "\(command.temperature)",
                "--batch", "\(command.batch)",
                "--rollouts-per-shard", "\(command.rolloutsPerShard)", "--policy-version", "\(version)",
            ] + source + textFlags + command.samplingPrecision + threads + seed(iteration, name)
                + (needsLogits ? ["--logits"] : []))
    }

    /// What says how prompts are read and rollouts end. A stop string goes in one word with its flag, since it may
    /// begin with a dash.
    private var textFlags: [String] {
        let tokens = command.stopTokenIds.map { "\($0)" }
        let rule = ["--add-special-tokens", command.addSpecialTokens] + command.chats.flags
        return rule + command.stop.map { "--stop=\($0)" } + (tokens.isEmpty ? [] : ["--stop-token-ids"] + tokens)
    }

    private func ingestAndScore(_ iteration: Iteration, _ prefix: String, _ more: [String], _ models: [String] = [])
        throws
    {
        try stages.run(
            "crux-ingest",
            ["--input", iteration.path(prefix + "rollout"), "--output", iteration.path(prefix + "ingest")] + more
                + threads)
        try stages.run(
            "crux-score",
            [
                "--input", iteration.path(prefix + "ingest"), "--output", iteration.path(prefix + "score"), "--reward",
                command.reward,
            ] + models + (models.isEmpty ? [] : precision) + threads)
    }

    private func update(_ iteration: Iteration, _ policy: String) throws {
        let resume = try iteration.before.trained().map { ["--resume-from", $0.path("update")] } ?? []
        try stages.run(
            "crux-update",
            [
                "--plan", iteration.path("plan"), "--checkpoint",
                recipe.trainable.adapters == nil ? policy : command.checkpoint, "--output", iteration.path("update"),
            ]
                + resume + frozen(iteration) + limits)
    }

    /// The same prompts and random numbers every time: what differs is the policy.
    private func measure(_ iteration: Iteration, _ row: inout LoopRow) throws {
        guard let heldout = command.heldout else { return }
        let sampled = try measure(
            iteration, heldout, "heldout-", temperature: command.temperature, samples: command.heldoutSamples)
        row.heldoutAccuracy = sampled.accuracy
        row.heldoutEntropy = sampled.rollout.measures?["entropy_mean"]
        row.heldoutLength = Self.ratio(sampled.rollout.counts["sampled_tokens"], sampled.rollout.counts["rollouts"])
        guard command.heldoutGreedy else { return }
        let greedy = try measure(iteration, heldout, "heldout-greedy-", temperature: 0, samples: 1)
        row.heldoutGreedyAccuracy = greedy.accuracy
    }

    private func measure(
        _ iteration: Iteration, _ heldout: String, _ prefix: String, temperature: Float, samples: Int
    ) throws -> (accuracy: Double?, rollout: Manifest) {
        try stages.run(
            "crux-rollout",
            [
                "--checkpoint", try checkpoint(iteration), "--prompts", heldout,
                "--output", iteration.path(prefix + "rollout"), "--group-size", "\(samples)",
                "--max-tokens", "\(command.maxTokens)", "--temperature", "\(temperature)",
                "--batch", "\(command.batch)", "--rollouts-per-shard", "\(command.rolloutsPerShard)", "--seed",
                "\(command.options.seed)",
            ] + textFlags + command.samplingPrecision + threads)
        try ingestAndScore(iteration, prefix, [])
        let score = try iteration.manifest(prefix + "score", stage: "score")
        let accuracy = Self.ratio(score.counts["correct"], score.counts["judged"])
        return (accuracy, try iteration.manifest(prefix + "rollout", stage: "rollout"))
    }

    // MARK: figures

    private static func ratio(_ part: Int?, _ whole: Int?) -> Double? {
        guard let part, let whole, whole > 0 else { return nil }
        return Double(part) / Double(whole)
    }

    /// Prices move with the policy, so that old ones would break the budget for a long time.
    private static let pricedIterations = 3

    /// With a token budget: as many prompts as it pays for at the mean price of the last iterations.
    private func promptCount(after records: [LoopRow]) -> Int {
        let recent = records.suffix(Self.pricedIterations)
        let paid = recent.reduce(0) { $0 + Int($1.prompts) }, spent = recent.reduce(0) { $0 + Int($1.sampledTokens) }
        guard let budget = command.tokens, paid > 0, spent > 0 else { return command.promptsPerIteration }
        return max(1, (budget * paid + spent / 2) / spent)
    }

    private func addSampled(_ iteration: Iteration, _ name: String, _ row: inout LoopRow) throws {
        let manifest = try iteration.manifest(name, stage: "rollout")
        row.rollouts += Int64(manifest.counts["rollouts"] ?? 0)
        row.sampledTokens += Int64(manifest.counts["sampled_tokens"] ?? 0)
        guard name == "rollout" else { return }
        row.entropy = manifest.measures?["entropy_mean"]
        row.completionLength = Self.ratio(manifest.counts["sampled_tokens"], manifest.counts["rollouts"])
    }

    private func addScored(_ iteration: Iteration, _ name: String, _ row: inout LoopRow) throws {
        let manifest = try iteration.manifest(name, stage: "score")
        row.trainAccuracy = Self.ratio(manifest.counts["correct"], manifest.counts["judged"])
        row.rewardMean = manifest.measures?["reward_mean"]
    }

    private func addTrained(_ iteration: Iteration, _ row: inout LoopRow) throws {
        let metrics = try ArrowTableReader(path: iteration.path("update/metrics.arrow"), table: Tables.metrics).rows()
        row.optimizerSteps = Int64(metrics.count)
        row.gradNorm = metrics.last?.gradNorm
        row.entropyCoef = metrics.last?.entropyCoef
    }

    // MARK: saving

    @discardableResult
    private func writeCurves(_ records: [LoopRow]) throws -> [Manifest.File] {
        let curve = LearningCurve(name: recipe.name, rows: records)
        let picture = CurvePicture.svg(title: "\(recipe.name), seed \(command.options.seed)", [curve])
        return [
            Manifest.File(
                "metrics.csv", try AtomicFile.write(CurveTable.csv(records), to: try directory.writing("metrics.csv"))),
            Manifest.File("curves.svg", try AtomicFile.write(picture, to: try directory.writing("curves.svg"))),
        ] + (try writeMetrics(records))
    }

    private func writeMetrics(_ records: [LoopRow]) throws -> [Manifest.File] {
        try command.metrics.write(series(records), in: directory).map { Manifest.File($0, $1) }
    }

    /// An iteration knows no time of its own, since that differs between equal loops: each is put a second after the
    /// one before.
    private func series(_ records: [LoopRow]) -> MetricSeries {
        MetricSeries(Tables.loop, records, group: "loop") { _ in 1 }
    }

    private func finish(_ records: [LoopRow]) throws -> StageSummary {
        var table = try ArrowTableWriter(
            path: try directory.writing("metrics.arrow"), table: Tables.loop, metadata: directory.tableMetadata())
        for record in records { try table.append(record) }
        let metrics = Manifest.File("metrics.arrow", try table.finish())
        let last = Iteration(number: command.iterations, root: directory.path), policy = try checkpoint(last)
        // The checkpoint, and what a longer loop goes on from; where nothing was ever learned, neither is the loop's
        // own.
        let folders = try last.trained().map { [policy, try StepFolders.last(in: $0.path("update")).optimizer] } ?? []
        let files = try folders.flatMap { folder in
            try Folder.names(folder).map { folder.dropFirst(directory.path.count + 1) + "/" + $0 }
        }
        let outputs =
            [metrics] + (try writeCurves(records)) + (try files.map { try Manifest.describe($0, in: directory.path) })
            + (try iterationFiles())
        command.metrics.warning(series(records)).map(context.warn)
        let curve = LearningCurve(name: recipe.name, rows: records)
        let measures = [
            "heldout_accuracy_before": curve.before, "heldout_accuracy_after": curve.after,
            "heldout_greedy_accuracy_before": curve.greedyBefore, "heldout_greedy_accuracy_after": curve.greedyAfter,
        ].compactMapValues { $0 }
        let manifest = try directory.finish(
            outputs: outputs, counts: ["iterations": command.iterations], measures: measures)
        return StageSummary([
            "output": directory.path, "counts": manifest.counts, "measures": measures, "checkpoint": policy,
        ])
    }

    /// Records, and the manifests of the stages that are kept: each names its own files.
    private func iterationFiles() throws -> [Manifest.File] {
        try (0...command.iterations).flatMap { number -> [Manifest.File] in
            let iteration = Iteration(number: number, root: directory.path)
            return try iteration.listed().map { try Manifest.describe(iteration.name + "/" + $0, in: directory.path) }
        }
    }

    private func fields(_ row: LoopRow) -> [String: any Sendable] {
        var fields: [String: any Sendable] = [
            "iteration": Int(row.iteration), "prompts": Int(row.prompts), "rollouts": Int(row.rollouts),
            "sampled_tokens": Int(row.sampledTokens),
            "optimizer_steps": Int(row.optimizerSteps),
        ]
        fields["heldout_accuracy"] = row.heldoutAccuracy
        fields["reward_mean"] = row.rewardMean
        fields["entropy"] = row.entropy ?? row.heldoutEntropy
        return fields
    }

    private func describe(_ row: LoopRow) -> String {
        func text(_ value: Double?, _ format: String = "%.3f") -> String {
            value.map { String(format: format, $0) } ?? "-"
        }
        return
            "iteration \(row.iteration): held-out accuracy \(text(row.heldoutAccuracy))"
            + (row.heldoutGreedyAccuracy.map { " (greedy \(text($0)))" } ?? "")
            + ", reward \(text(row.rewardMean)), entropy \(text(row.entropy ?? row.heldoutEntropy)), "
            + "length \(text(row.completionLength ?? row.heldoutLength, "%.1f")), \(row.prompts) prompts, \(row.sampledTokens) tokens sampled, \(row.optimizerSteps) steps"
    }
}
