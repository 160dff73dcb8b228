import ArgumentParser
import Files
import Formats
import Foundation
import Recipes
import StageSupport

/// `plan/` → what another trainer takes, and what that trainer must be told.
struct ExportCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "crux-plan export",
        abstract: "Hands a plan over to another trainer, in its own shape.",
        version: cruxVersion)
    static let stage = "export"

    @Option(help: "Directory of crux-plan.")
    var plan: String

    @Option(help: "What takes it: \(ExportRegistry.names.joined(separator: ", ")).")
    var format: String

    @Option(help: "Directory to make.")
    var output: String

    @OptionGroup var options: StageOptions

    func validate() throws {
        guard ExportRegistry.named(format) != nil else {
            throw ValidationError("--format is '\(format)'; known: \(ExportRegistry.names.joined(separator: ", ")).")
        }
    }

    func runStage(_ context: StageContext) throws -> StageSummary {
        try Undertaking.requireApart(output, [InputPlace(plan)], options)
        let planned = try Manifest.finished(plan, stage: "plan")
        try planned.verify(["plan.arrow", "recipe.resolved.json"], in: plan, context)
        let recipe = try Recipe.load(path: plan + "/recipe.resolved.json"), export = try self.export(recipe)
        let rows = try ExportedPlan(path: plan + "/plan.arrow")
        guard rows.rowCount > 0 else {
            throw StageError(.nothingToLearn, "\(plan): nothing to hand over: the plan has no rows")
        }
        guard options.share.rank == 0 else { return StageSummary(["output": output, "left_to_rank_0": true]) }
        let manifest = Manifest(
            stage: Self.stage, configuration: ["format": format],
            inputs: [try Manifest.asInput(plan, stage: "plan")])
        let undertaking = Undertaking(
            manifest, output: output, reads: [InputPlace(plan)], options: options, share: .whole)
        return try undertaking.run(context, would: ["rollouts": rows.rowCount, "steps": rows.steps.count]) {
            try write(export, rows, recipe, to: $0, context)
        }
    }

    private func export(_ recipe: Recipe) throws -> any PlanExport {
        guard let format = ExportRegistry.named(format) else { preconditionFailure("validate() has seen to it") }
        do { return try format.init(recipe) } catch {
            throw StageError(
                .invalidInput,
                "\(plan)/recipe.resolved.json: found \(error.found), which --format \(self.format) can't hand over, expected \(error.expected)"
            )
        }
    }

    private func write(
        _ export: any PlanExport, _ rows: ExportedPlan, _ recipe: Recipe, to directory: StageDirectory,
        _ context: StageContext
    ) throws -> StageSummary {
        let files = try export.write(rows, to: directory)
        let settings = Manifest.File(
            "export.json", try AtomicFile.write(try text(export, rows, recipe), to: directory.file("export.json")))
        let counts = ["rollouts": rows.rowCount, "steps": rows.steps.count]
        let manifest = try directory.finish(outputs: files + [settings], counts: counts)
        context.say("\(rows.rowCount) rollouts in \(rows.steps.count) steps for \(type(of: export).source)")
        return StageSummary(["output": directory.path, "counts": manifest.counts])
    }

    /// `export.json`: what the trainer is to be told, by its own names.
    private func text(_ export: any PlanExport, _ rows: ExportedPlan, _ recipe: Recipe) throws -> String {
        let optimizer = recipe.optimizer
        var object: [String: Any] = [
            "format": format, "loss": export.settings, "epochs": recipe.credit.schedule.epochs,
            "steps": rows.steps.map { ["step": Int($0.number), "rollouts": $0.rows.count, "tokens": $0.tokens] },
            "optimizer": [
                "type": "adamw", "lr": optimizer.lr, "betas": optimizer.betas, "eps": optimizer.eps,
                "weight_decay": optimizer.weightDecay, "warmup_steps": optimizer.warmupSteps,
                "decay_steps": optimizer.decaySteps as Any? ?? NSNull(),
                "max_grad_norm": optimizer.maxGradNorm as Any? ?? NSNull(),
            ],
        ]
        if let temperature = rows.temperature { object["temperature"] = Double("\(temperature)") ?? 1 }
        let options: JSONSerialization.WritingOptions = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try JSONSerialization.data(withJSONObject: object, options: options), as: UTF8.self)
            + "\n"
    }
}
