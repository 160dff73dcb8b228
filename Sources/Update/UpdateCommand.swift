import ArgumentParser
import Formats
import Foundation
import Models
import Recipes
import StageSupport

@main
enum UpdateMain {
    static func main() { UpdateCommand.runMain() }
}

/// `plan/` and a checkpoint → `update/`: the checkpoint after the plan's optimizer steps.
struct UpdateCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "crux-update", abstract: "Trains a Hugging Face checkpoint on a plan by real gradients.", version: cruxVersion)
    static let stage = "update"
    static let keepsFreedMemory = true

    @Option(help: "Directory of crux-plan.")
    var plan: String

    @Option(help: "Hugging Face checkpoint to train.")
    var checkpoint: String

    @Option(help: "Directory to make.")
    var output: String

    @Option(help: "Go on from the last step of another update directory: weights, masters, moments, step number.")
    var resumeFrom: String?

    @Option(help: "Keep a checkpoint every N steps (default: only the last).")
    var saveEvery: Int?

    @OptionGroup var options: StageOptions

    func validate() throws {
        if let saveEvery, saveEvery < 1 { throw ValidationError("--save-every is \(saveEvery); it must be at least 1.") }
    }

    func runStage(_ context: StageContext) throws -> StageSummary {
        let planned = try Manifest.finished(plan, stage: "plan")
        let source = try Checkpoint(directory: checkpoint)
        try requireVocabulary(of: planned, source)
        let resume = try resumeFrom.map { try SavedStep.last(in: $0) }
        if options.dryRun { return StageSummary(["would_write": output, "rollouts": planned.counts["kept"] ?? 0, "steps": planned.counts["steps"] ?? 0]) }
        // One task does the whole step.
        guard options.share.rank == 0 else { return StageSummary(["output": output, "left_to_rank_0": true]) }
        let manifest = Manifest(
            stage: Self.stage, configuration: settings, inputs: [try Manifest.asInput(plan)] + (try source.inputFiles()) + (try resume?.inputFiles() ?? []))
        switch try StageDirectory.open(output, for: manifest, overwrite: options.overwrite) {
        case .done(let manifest):
            context.say("\(output) is finished already; nothing to do")
            return StageSummary(["output": output, "counts": manifest.counts, "already_done": true])
        case .work(let directory):
            let recipe = try loadRecipe()
            let rows = try ArrowTableReader(path: plan + "/plan.arrow", table: Tables.plan).rows()
            return try UpdateRun(
                directory: directory, checkpoint: source, recipe: recipe, rows: rows, planPath: plan + "/plan.arrow", resume: resume,
                saveEvery: saveEvery, context: context
            ).run()
        }
    }

    private func requireVocabulary(of planned: Manifest, _ source: Checkpoint) throws {
        guard let vocabulary = planned.counts["vocabulary"], vocabulary != source.architecture.vocabulary else { return }
        throw StageError(
            .invalidInput,
            "\(checkpoint): found a vocabulary of \(source.architecture.vocabulary), expected \(vocabulary), that of the dump's logits. Give the checkpoint that sampled the dump.")
    }

    private var settings: [String: String] {
        // Rounding differs between thread counts, so a half-done update must go on with the same.
        var settings = ["threads": "\(options.threadCount)"]
        settings["save_every"] = saveEvery.map { "\($0)" }
        return settings
    }

    private func loadRecipe() throws -> Recipe {
        do { return try Recipe.load(path: plan + "/recipe.resolved.json") } catch let error as RecipeError {
            throw StageError(.invalidInput, error.description)
        }
    }
}

extension Checkpoint {
    /// Configuration and weights, by digest.
    func inputFiles() throws -> [Manifest.File] {
        try inputPaths.map { Manifest.File(path: $0, sha256: try SHA256Digest.ofFile($0)) }
    }
}
