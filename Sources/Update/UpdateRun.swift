import Formats
import Foundation
import Models
import Recipes
import StageSupport
import Tensors

/// Load → steps → save. Steps saved by an interrupted run are gone on from; the rest is computed again to the same bytes.
struct UpdateRun {
    let directory: StageDirectory
    let checkpoint: Checkpoint
    let recipe: Recipe
    let rows: [PlanRow]
    let planPath: String
    let resume: SavedStep?
    let saveEvery: Int?
    let microBatchTokens: Int?
    let question: TokenQuestion
    let context: StageContext

    func run() throws -> StageSummary {
        try checkRows()
        let first = resume?.step ?? 0
        let schedule = optimizerSteps()
        let (training, form) = try trainedPart()
        let (state, earlier) = try startingState(training, form)
        var metrics = earlier
        if recipe.objective.targetDecay != nil, state.target == nil { state.target = copy(state.parameters) }
        let step = OptimizerStep(
            training: training, recipe: recipe, gradients: Buffer(training.layout.count), question: question, seed: context.options.seed,
            microBatchTokens: microBatchTokens)
        let progress = ProgressLine(context, total: schedule.count, unit: "steps")
        progress.advance(by: state.step - first)
        for part in schedule.dropFirst(state.step - first) {
            try context.checkInterruption()
            metrics.append(try step.run(part.map { rows[$0] }, state))
            if let saveEvery, state.step % saveEvery == 0 { try SavedStep.save(state, form, metrics: metrics, in: directory) }
            progress.advance(note: note(metrics.last))
        }
        if saveEvery == nil || state.step % (saveEvery ?? 1) != 0 || schedule.isEmpty {
            try SavedStep.save(state, form, metrics: metrics, in: directory)
        }
        if let target = state.target { try SavedStep.saveTarget(target, form, in: directory) }
        return try finish(metrics)
    }

    private func copy(_ buffer: Buffer) -> Buffer {
        let copy = Buffer(uninitialized: buffer.count)
        copy.pointer.update(from: buffer.pointer, count: buffer.count)
        return copy
    }

    /// Row indices of each optimizer step: the plan's steps in order, once per epoch.
    private func optimizerSteps() -> [[Int]] {
        var members: [Int32: [Int]] = [:]
        for (index, row) in rows.enumerated() { members[row.step, default: []].append(index) }
        let once = members.sorted { $0.key < $1.key }.map(\.value)
        return (0..<recipe.credit.schedule.epochs).flatMap { _ in once }
    }

    /// What the recipe trains, and how that lies on disk.
    private func trainedPart() throws -> (any Training, any TrainedForm) {
        let model = LanguageModel(checkpoint.architecture, parameters: try checkpoint.loadParameters(), threads: context.threads)
        guard let adapters = recipe.trainable.adapters else { return (FullTraining(model), CheckpointForm(checkpoint: checkpoint)) }
        let training = LowRankTraining(model, rank: adapters.rank, alpha: adapters.alpha, targets: adapters.targets, seed: context.options.seed)
        return (training, AdapterForm(checkpoint: checkpoint, settings: adapters, training: training))
    }

    /// The newest whole step that this directory holds, else the resumed one, else the beginning. The state's parameters are the
    /// training's own.
    private func startingState(_ training: any Training, _ form: any TrainedForm) throws -> (TrainingState, [MetricsRow]) {
        if let saved = SavedStep.all(in: directory.path).last {
            let path = directory.workPath + "/metrics-\(SavedStep.name(saved.step)).arrow"
            let metrics = try ArrowTableReader(path: path, table: Tables.metrics).rows()
            context.say("going on after step \(saved.step)")
            return (try saved.load(form).moved(into: training), metrics)
        }
        if let resume { return (try resume.load(form).moved(into: training), []) }
        return (TrainingState(parameters: training.parameters, step: 0), [])
    }

    private func checkRows() throws {
        let vocabulary = checkpoint.architecture.vocabulary
        for row in rows {
            func fail(_ found: String, _ expected: String, _ remedy: String = "Plan again.") -> FormatError {
                FormatError(file: planPath, place: "rollout '\(row.rolloutID)'", found: found, expected: expected, remedy: remedy)
            }
            let length = row.tokenIDs.count
            guard
                [
                    row.lossMask.count, row.advantages.count, row.tokenWeights.count, row.oldLogprobs.count, row.referenceLogprobs?.count ?? length,
                    row.klWeights?.count ?? length, row.returns?.count ?? length, row.values?.count ?? length,
                ]
                .allSatisfy({ $0 == length })
            else { throw fail("per-token columns of different lengths", "\(length) entries each") }
            if let token = row.tokenIDs.first(where: { !(0..<Int32(vocabulary)).contains($0) }) {
                throw fail(
                    "token id \(token)", "ids below the vocabulary of \(checkpoint.directory), \(vocabulary)", "Give the checkpoint that sampled the dump.")
            }
            guard row.temperature > 0, row.lossMask.first != true else { throw fail("temperature \(row.temperature) or a trainable first token", "neither") }
            if recipe.objective.readsReturns, row.returns == nil {
                throw fail("no returns", "them, for objective \(type(of: recipe.objective).name)", "Plan again with an advantage that gives returns, such as gae.")
            }
            guard (row.advantages + row.tokenWeights + row.oldLogprobs + (row.returns ?? [])).allSatisfy(\.isFinite) else {
                throw fail("a number that is not finite", "finite numbers")
            }
        }
    }

    private func finish(_ metrics: [MetricsRow]) throws -> StageSummary {
        let steps = SavedStep.all(in: directory.path)
        try SavedStep.writeMetrics(metrics, to: directory.file("metrics.arrow"), directory)
        var outputs: [Manifest.File] = []
        for step in steps { outputs += try describe(SavedStep.name(step.step)) }
        if recipe.objective.targetDecay != nil { outputs += try describe(SavedStep.targetName) }
        // Wall-clock seconds stand in it: the one file whose bytes differ between equal runs.
        outputs.append(Manifest.File(path: "metrics.arrow", rows: metrics.count))
        let counts = ["steps": metrics.count, "last_step": steps.last?.step ?? 0, "rollouts": rows.count]
        let manifest = try directory.finish(outputs: outputs, counts: counts)
        for row in metrics.suffix(20) {
            context.say(
                "step \(row.step): loss \(text(row.loss)), gradient norm \(text(row.gradNorm)), clipped low \(text(row.clipFractionLow)) high \(text(row.clipFractionHigh)), "
                    + measures(row) + "entropy \(text(row.entropy)), \(row.trainableTokens) tokens in \(text(row.seconds)) s")
        }
        var summary: [String: any Sendable] = ["output": directory.path, "counts": manifest.counts, "checkpoint": steps.last?.path ?? ""]
        if recipe.objective.targetDecay != nil { summary["target"] = directory.file(SavedStep.targetName) }
        return StageSummary(summary)
    }

    private func describe(_ name: String) throws -> [Manifest.File] {
        try FileManager.default.subpathsOfDirectory(atPath: directory.path + "/" + name).sorted().filter { !isFolder(directory.path + "/" + name + "/" + $0) }.map {
            try Manifest.describe(name + "/" + $0, in: directory.path)
        }
    }

    private func isFolder(_ path: String) -> Bool {
        var isFolder: ObjCBool = false
        return FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) && isFolder.boolValue
    }

    private func measures(_ row: MetricsRow) -> String {
        [("reward margin", row.rewardMargin), ("reward accuracy", row.rewardAccuracy), ("value error", row.valueError), ("target divergence", row.targetDivergence)]
            .compactMap { name, value in value.map { "\(name) \(text($0)), " } }.joined()
    }

    private func text(_ value: Double) -> String { String(format: "%.4g", value) }

    private func note(_ row: MetricsRow?) -> String {
        row.map { "loss \(text($0.loss))  \(text(Double($0.trainableTokens) / max($0.seconds, 1e-9))) tokens/s" } ?? ""
    }
}

extension TrainingState {
    /// This state with its parameters in the training's own array, whose model follows.
    fileprivate func moved(into training: any Training) -> TrainingState {
        training.parameters.pointer.update(from: parameters.pointer, count: parameters.count)
        training.settle()
        return TrainingState(parameters: training.parameters, like: self)
    }
}
