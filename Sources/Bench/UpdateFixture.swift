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
        try SyntheticCheckpoint(layers: 6, dtype: .f32).write(to: checkpoint)
    }

    /// Of as many optimizer steps, one after the other on the same rows.
    func plan(_ name: String, steps: Int = 1) -> String { folder + "/plan-\(name)-\(steps)" }

    func write(_ batch: UpdateCase, steps: Int) throws {
        let path = plan(batch.name, steps: steps)
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        var table = try ArrowTableWriter(path: path + "/plan.arrow", table: Tables.plan, metadata: [:])
        for row in batch.rows { try table.append(row) }
        try table.finish()
        try AtomicFile.write(
            try Recipe.load(yaml: "name: bench\nschedule:\n  epochs: \(steps)", file: "bench").resolvedJSON(),
            to: path + "/recipe.resolved.json")
        try Manifest(stage: "plan", configuration: [:], inputs: []).write(to: path)
    }
}
