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

    init(folder: String) throws {
        self.folder = folder
        try SyntheticCheckpoint(.small(layers: 6), dtype: .f32).write(to: checkpoint)
    }

    /// Of as many optimizer steps, one after the other on the same rows.
    func plan(_ name: String, steps: Int = 1) -> String { folder + "/plan-\(name)-\(steps)" }

    func write(_ batch: UpdateCase, steps: Int) throws {
        try batch.writePlan(to: plan(batch.name, steps: steps), recipe: "name: bench\nschedule:\n  epochs: \(steps)")
    }
}

extension UpdateCase {
    /// A plan of the batch, whole enough for crux-update.
    func writePlan(to path: String, recipe: String) throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        var table = try ArrowTableWriter(path: path + "/plan.arrow", table: Tables.plan, metadata: [:])
        for row in rows { try table.append(row) }
        try table.finish()
        try AtomicFile.write(
            try Recipe.load(yaml: recipe, file: "bench").resolvedJSON(), to: path + "/recipe.resolved.json")
        try Manifest(stage: "plan", configuration: [:], inputs: []).write(to: path)
    }
}
