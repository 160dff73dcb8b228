import Arrow
import Files
import Formats
import Foundation
import Recipes
import StageSupport

/// A checkpoint and a plan on disk, from which both sides make their step.
struct UpdateFixture {
    let folder: String
    var checkpoint: String { folder + "/checkpoint" }

    /// Tokens of plans are below it.
    private let vocabulary: Int

    init(folder: String, _ shape: UpdateShape) throws {
        (self.folder, vocabulary) = (folder, shape.vocabulary)
        try SyntheticCheckpoint(shape.configuration, dtype: .f32).write(to: checkpoint)
    }

    /// Of as many optimizer steps, one after the other on the same rows.
    func plan(_ name: String, steps: Int = 1) -> String { folder + "/plan-\(name)-\(steps)" }

    func write(_ batch: UpdateCase, steps: Int) throws {
        try batch.writePlan(
            to: plan(batch.name, steps: steps), recipe: "name: bench\nschedule:\n  epochs: \(steps)",
            vocabulary: vocabulary)
    }
}

/// A model whose steps are measured beside PyTorch's.
struct UpdateShape {
    let title: String
    let vocabulary: Int
    let configuration: String
    var cases = UpdateCase.all

    static let small = UpdateShape(
        title: "Qwen2.5-0.5B shape with 6 layers", vocabulary: 151_936,
        configuration: QwenShape.small(layers: 6).configuration(.f32))
}

extension UpdateCase {
    /// A plan of the batch, whole enough for crux-update.
    func writePlan(to path: String, recipe: String, vocabulary: Int = .max) throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        var table = try ArrowTableWriter(path: path + "/plan.arrow", table: Tables.plan, metadata: [:])
        for var row in rows {
            row.tokenIDs = row.tokenIDs.map { $0 % Int32(clamping: vocabulary) }
            try table.append(row)
        }
        try table.finish()
        try AtomicFile.write(
            try Recipe.load(yaml: recipe, file: "bench").resolvedJSON(), to: path + "/recipe.resolved.json")
        try Manifest(stage: "plan", configuration: [:], inputs: []).write(to: path)
    }
}
