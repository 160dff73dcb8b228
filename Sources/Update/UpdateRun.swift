import Arrow
import Files
import Formats
import Foundation
import Gang
import MetricFiles
import Models
import Recipes
import StageSupport
import Tensors

/// Load → steps → save. Steps saved by an interrupted run are gone on from; the rest is computed again to the same
/// bytes.
struct UpdateRun {
    /// The directory's path.
    let output: String
    /// What this process may write into: rank 0's alone.
    let directory: StageDirectory?
    let checkpoint: Checkpoint
    let recipe: Recipe
    let rows: PlanReader
    let memory: MemoryPlan
    let resume: SavedStep?
    let saveEvery: Int?
    /// Whether what a step's weights have otherwise than the checkpoint's is written beside it.
    let withDelta: Bool
    let question: ModelOutputKind
    let weights: WeightType
    /// nil: products are float32.
    let halves: HalfProducts?
    /// What isn't kept in memory lies on a disk; nil: moments are in memory, and activations are computed again.
    let offloading: Offloading?
    let metricForms: MetricsOption
    let gang: any Gang
    let context: StageContext

    func run() throws -> StageSummary {
        context.say(memory.text)
        let (training, form) = try gang.together { try trainedPart() }
        let (state, earlier) = try startingState(training, form)
        if recipe.objective.targetDecay != nil, state.target == nil { state.beginTarget() }
        var ratios: FirstRatios?
        let metrics = try earlier + steps(training, form, state, earlier, &ratios)
        if let target = state.target { try SavedStep.saveTarget(target, form, in: directory, gang) }
        guard let directory else {
            _ = try peaks()
            return .silent
        }
        var summary = try finish(metrics, form, training.model, directory)
        if let ratios { summary.fields["first_ratios"] = ratios.summary }
        return summary
    }

    /// The schedule's steps that are still to be done; their metrics. `ratios`: of the first of all, where its
    /// objective has any.
    private func steps(
        _ training: any Training, _ form: any TrainedForm, _ state: TrainingState, _ earlier: [MetricsRow],
        _ ratios: inout FirstRatios?
    ) throws -> [MetricsRow] {
        // The plan's steps in order, once per epoch.
        let total = recipe.credit.schedule.epochs * rows.stepCount, done = state.step - (resume?.step ?? 0)
        let step = OptimizerStep(
            training: training, recipe: recipe, gradients: Buffer(training.layout.count), question: question,
            seed: context.options.seed,
            headRows: memory.headRows, space: memory.arena(), store: try offloading.map(ActivationsInFile.init),
            momentsFollowPasses: memory.momentsFollowPasses, gang: gang)
        let progress = StepProgress(context, total: total, done: done, isPart: !gang.isAlone)
        var metrics: [MetricsRow] = []
        for part in (min(done, total)..<total).lazy.map({ $0 % rows.stepCount }) {
            progress.begin(memory.shares[part][gang.rank])
            let planned = try gang.together { try rows.rows(ofStep: part) }, isFirst = done == 0 && metrics.isEmpty
            let row = try step.run(planned, memory.shares[part], state) { batch, loss in
                progress.finished(batch, loss: loss)
                try context.checkInterruption()
            } ratios: { found in
                guard isFirst, found.tokens > 0 else { return }
                ratios = found
                if found.areOff, gang.leads { context.warn(found.warning(try cause(of: found, planned, step))) }
            }
            metrics.append(row)
            if saveEvery.map({ state.step % $0 == 0 }) ?? false {
                try SavedStep.save(state, form, metrics: earlier + metrics, withDelta: withDelta, in: directory)
            }
            progress.end(loss: row.loss)
        }
        // Not again what an interrupted run had saved before it could say so.
        if try lastSaved() != state.step {
            try SavedStep.save(state, form, metrics: earlier + metrics, withDelta: withDelta, in: directory)
        }
        return metrics
    }

    /// The newest whole step that the directory holds: rank 0 looks.
    private func lastSaved() throws -> Int? {
        let found = try gang.together {
            try directory.flatMap { try SavedStep.all(in: $0.path).last?.step } ?? Self.noStep
        }
        let step = try gang.gather(found)[0]
        return step == Self.noStep ? nil : step
    }

    /// Steps count from 1.
    private static let noStep = 0

    /// The most memory that each rank has had at once.
    private func peaks() throws -> [Int] { try gang.gather(ProcessMemory.peak()) }

    /// Why first ratios may be off: what can be tried is tried.
    private func cause(of found: FirstRatios, _ planned: [PlanRow], _ step: OptimizerStep) throws -> FirstRatios.Cause {
        let sample = FirstRatios.sample(of: planned)
        if let rollouts = sample.first?.temperature {
            let own = try step.ratios(of: sample).meanDifference
            for temperature in FirstRatios.usualTemperatures where temperature != rollouts {
                let mean = try step.ratios(of: sample, temperature: temperature).meanDifference
                if mean < own / 10 { return .temperature(fits: temperature, mean: mean, rollouts: rollouts) }
            }
        }
        if let resume, try resume.hasMasters() { return .masters(resume) }
        return .unknown(checkpoint: resume?.folders.directory ?? checkpoint.directory)
    }

    /// What the recipe trains, and how that lies on disk.
    private func trainedPart() throws -> (any Training, any TrainedForm) {
        guard let adapters = recipe.trainable.adapters else {
            let training = FullTraining(
                checkpoint.architecture, parameters: try checkpoint.loadParameters(), threads: context.threads,
                halves: halves)
            return (
                training, CheckpointForm(checkpoint: checkpoint, type: weights, parameters: training.parameters)
            )
        }
        let base = LanguageModel(
            checkpoint.architecture, try checkpoint.loadStanding(), threads: context.threads, halves: halves)
        let training = LowRankTraining(
            base, rank: adapters.rank, alpha: adapters.alpha, targets: adapters.targets, seed: context.options.seed)
        return (training, AdapterForm(checkpoint: checkpoint, settings: adapters, training: training, type: weights))
    }

    /// The newest whole step that this directory holds, else the resumed one, else the beginning. The state's
    /// parameters are the training's own.
    private func startingState(_ training: any Training, _ form: any TrainedForm) throws -> (
        TrainingState, [MetricsRow]
    ) {
        let moments = try gang.together { try self.moments(training) }
        let state = TrainingState(parameters: training.parameters, moments: moments, step: 0, gang: gang),
            saved = try lastSaved().map { SavedStep(folders: StepFolders(directory: output, step: $0)) }
        guard let start = saved ?? resume else { return (state, []) }
        try gang.together { try start.load(form, into: state) }
        guard let saved else { return (state, []) }
        context.say("going on after step \(saved.step)")
        return (state, try gang.together { try directory.map { try savedMetrics(saved, $0) } ?? [] })
    }

    private func moments(_ training: any Training) throws -> any Moments {
        let held = Slices(of: training.parameters.count, ranks: gang.size)[gang.rank]
        guard let offloading else { return MomentsInMemory(held) }
        return try MomentsInFile(held, offloading)
    }

    /// Beside the unfinished work; a directory that was finished and lacks an output has them in its table.
    private func savedMetrics(_ saved: SavedStep, _ directory: StageDirectory) throws -> [MetricsRow] {
        let beside = directory.workPath + "/metrics-\(StepFolders.name(saved.step)).arrow"
        let path = try fileExists(beside) ? beside : directory.file("metrics.arrow")
        return try ArrowTableReader(path: path, table: Tables.metrics).rows()
    }

    private func finish(
        _ metrics: [MetricsRow], _ form: any TrainedForm, _ model: LanguageModel, _ directory: StageDirectory
    ) throws -> StageSummary {
        let steps = try SavedStep.all(in: directory.path)
        try SavedStep.writeMetrics(metrics, to: directory.file("metrics.arrow"), directory)
        var outputs: [Manifest.File] = []
        for step in steps {
            outputs +=
                try describe(StepFolders.name(step.step), directory)
                + describe(StepFolders.optimizerName(step.step), directory)
                + (withDelta ? describe(StepFolders.deltaName(step.step), directory) : [])
        }
        if recipe.objective.targetDecay != nil { outputs += try describe(SavedStep.targetName, directory) }
        // Wall-clock seconds stand in these: the files whose bytes differ between equal runs.
        let series = MetricSeries(Tables.metrics, metrics, group: "update", seconds: \.seconds)
        let names = ["metrics.arrow"] + (try metricForms.write(series, in: directory).map(\.0))
        metricForms.warning(series).map(context.warn)
        outputs += names.map { Manifest.File(path: $0, rows: metrics.count) }
        let counts = [
            "steps": metrics.count, "last_step": steps.last?.step ?? 0, "rollouts": rows.count,
            "rounded_tensors": form.roundedTensors,
        ]
        let carried = try carriedChange(form, steps.last, model)
        let peaks = try self.peaks()
        let manifest = try directory.finish(outputs: outputs, counts: counts, measures: carried?.measures)
        for row in metrics.suffix(20) {
            context.say(
                "step \(row.step): loss \(text(row.loss)), gradient norm \(text(row.gradNorm)), clipped low \(text(row.clipFractionLow)) high \(text(row.clipFractionHigh)), "
                    + measures(row)
                    + "entropy \(text(row.entropy)), \(row.trainableTokens) tokens in \(text(row.seconds)) s")
        }
        if let carried { context.say(carried.text(of: form is AdapterForm ? "merged weights" : "weights")) }
        context.say(
            "peak memory \(peaks.map(MemorySize.text).joined(separator: ", ")), foreseen "
                + "\(MemorySize.text(memory.predictedBytes))" + (gang.isAlone ? "" : " of each rank"))
        var summary: [String: any Sendable] = [
            "output": directory.path, "counts": manifest.counts, "checkpoint": steps.last?.path ?? "",
        ]
        summary["memory"] = memory.summary(peaks: peaks)
        if let offloading {
            context.say(gang.isAlone ? offloading.text : "rank \(gang.rank): " + offloading.text)
            summary["offload"] = offloading.summary
        }
        if let carried { summary["files"] = carried.measures }
        if withDelta, let last = steps.last {
            summary["delta"] = try tell(CheckpointDelta(directory: last.folders.delta))
        }
        if recipe.objective.targetDecay != nil { summary["target"] = directory.file(SavedStep.targetName) }
        return StageSummary(summary)
    }

    /// What of all the run's steps the last one's files carry.
    private func carriedChange(_ form: any TrainedForm, _ last: SavedStep?, _ model: LanguageModel) throws
        -> CarriedChange?
    {
        guard let last, let written = try form.written(in: last.path, after: resume) else { return nil }
        return try CarriedChange(
            from: written.start, to: written.files, masters: written.masters, Compute(threads: model.threads))
    }

    private func describe(_ name: String, _ directory: StageDirectory) throws -> [Manifest.File] {
        try Folder.files(below: directory.file(name)).map { try Manifest.describe(name + "/" + $0, in: directory.path) }
    }

    /// How little a step changes.
    private func tell(_ delta: CheckpointDelta) throws -> [String: Int] {
        let count = try delta.count(of: checkpoint), bytes = try delta.bytes(of: checkpoint),
            all = try checkpoint.weightPaths.reduce(0) { try $0 + Int(fileStatus($1)?.st_size ?? 0) }
        let share = 100 * Double(count.changed) / Double(max(1, count.elements))
        context.say(
            "delta of the last step: \(count.changed) of \(count.elements) stored numbers differ (\(text(share)) %), "
                + "\(MemorySize.text(bytes)) beside \(MemorySize.text(all))")
        return ["changed": count.changed, "elements": count.elements, "bytes": bytes]
    }

    private func measures(_ row: MetricsRow) -> String {
        [
            ("reward margin", row.rewardMargin), ("reward accuracy", row.rewardAccuracy),
            ("value error", row.valueError), ("target divergence", row.targetDivergence),
        ]
        .compactMap { name, value in value.map { "\(name) \(text($0)), " } }.joined()
    }

    private func text(_ value: Double) -> String { String(format: "%.4g", value) }
}
