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
    let rows: PlannedRows
    let memory: MemoryPlan
    let resume: SavedStep?
    let saveEvery: Int?
    let question: TokenQuestion
    let context: StageContext

    func run() throws -> StageSummary {
        context.say(memory.text)
        let (training, form) = try trainedPart()
        let (state, earlier) = try startingState(training, form)
        if recipe.objective.targetDecay != nil, state.target == nil { state.target = copy(state.parameters) }
        let metrics = try earlier + steps(training, form, state, earlier)
        if let target = state.target { try SavedStep.saveTarget(target, form, in: directory) }
        return try finish(metrics)
    }

    /// The schedule's steps that are still to be done; their metrics.
    private func steps(_ training: any Training, _ form: any TrainedForm, _ state: TrainingState, _ earlier: [MetricsRow]) throws -> [MetricsRow] {
        // The plan's steps in order, once per epoch.
        let total = recipe.credit.schedule.epochs * rows.stepCount, done = state.step - (resume?.step ?? 0)
        let step = OptimizerStep(
            training: training, recipe: recipe, gradients: Buffer(training.layout.count), question: question, seed: context.options.seed,
            headRows: memory.headRows, space: memory.workspace())
        let progress = StepProgress(context, total: total, done: done)
        var metrics: [MetricsRow] = []
        for part in (min(done, total)..<total).lazy.map({ $0 % rows.stepCount }) {
            progress.begin(memory.batches[part])
            let row = try step.run(rows.rows(ofStep: part), memory.batches[part], state) { batch, loss in
                progress.finished(batch, loss: loss)
                try context.checkInterruption()
            }
            metrics.append(row)
            if saveEvery.map({ state.step % $0 == 0 }) ?? false { try SavedStep.save(state, form, metrics: earlier + metrics, in: directory) }
            progress.end(loss: row.loss)
        }
        // Not again what an interrupted run had saved before it could say so.
        if try SavedStep.all(in: directory.path).last?.step != state.step {
            try SavedStep.save(state, form, metrics: earlier + metrics, in: directory)
        }
        return metrics
    }

    private func copy(_ buffer: Buffer) -> Buffer {
        let copy = Buffer(uninitialized: buffer.count)
        copy.pointer.update(from: buffer.pointer, count: buffer.count)
        return copy
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
        let state = TrainingState(parameters: training.parameters, step: 0), saved = try SavedStep.all(in: directory.path).last
        guard let start = saved ?? resume else { return (state, []) }
        try start.load(form, into: state)
        training.settle()
        guard let saved else { return (state, []) }
        context.say("going on after step \(saved.step)")
        return (state, try ArrowTableReader(path: directory.workPath + "/metrics-\(StepFolders.name(saved.step)).arrow", table: Tables.metrics).rows())
    }

    private func finish(_ metrics: [MetricsRow]) throws -> StageSummary {
        let steps = try SavedStep.all(in: directory.path)
        try SavedStep.writeMetrics(metrics, to: directory.file("metrics.arrow"), directory)
        var outputs: [Manifest.File] = []
        for step in steps { outputs += try describe(StepFolders.name(step.step)) + describe(StepFolders.optimizerName(step.step)) }
        if recipe.objective.targetDecay != nil { outputs += try describe(SavedStep.targetName) }
        // Wall-clock seconds stand in it: the one file whose bytes differ between equal runs.
        outputs.append(Manifest.File(path: "metrics.arrow", rows: metrics.count))
        let counts = ["steps": metrics.count, "last_step": steps.last?.step ?? 0, "rollouts": rows.count]
        let peak = ProcessMemory.peak()
        let manifest = try directory.finish(outputs: outputs, counts: counts)
        for row in metrics.suffix(20) {
            context.say(
                "step \(row.step): loss \(text(row.loss)), gradient norm \(text(row.gradNorm)), clipped low \(text(row.clipFractionLow)) high \(text(row.clipFractionHigh)), "
                    + measures(row) + "entropy \(text(row.entropy)), \(row.trainableTokens) tokens in \(text(row.seconds)) s")
        }
        context.say("peak memory \(MemorySize.text(peak)), foreseen \(MemorySize.text(memory.predictedBytes))")
        var summary: [String: any Sendable] = ["output": directory.path, "counts": manifest.counts, "checkpoint": steps.last?.path ?? ""]
        summary["memory"] = memory.summary(peak: peak)
        if recipe.objective.targetDecay != nil { summary["target"] = directory.file(SavedStep.targetName) }
        return StageSummary(summary)
    }

    private func describe(_ name: String) throws -> [Manifest.File] {
        try Folder.files(below: directory.file(name)).map { try Manifest.describe(name + "/" + $0, in: directory.path) }
    }

    private func measures(_ row: MetricsRow) -> String {
        [("reward margin", row.rewardMargin), ("reward accuracy", row.rewardAccuracy), ("value error", row.valueError), ("target divergence", row.targetDivergence)]
            .compactMap { name, value in value.map { "\(name) \(text($0)), " } }.joined()
    }

    private func text(_ value: Double) -> String { String(format: "%.4g", value) }
}
