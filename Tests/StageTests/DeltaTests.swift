import Formats
import Foundation
import TestSupport
import Testing

@Suite struct DeltaTests {
    private func planned() throws -> Pipeline {
        let run = try Pipeline()
        try run.ingest()
        try run.score()
        try run.plan(fixture("recipes/dapo-top20.yaml"))
        return run
    }

    private func apply(
        _ run: Pipeline, _ step: String, checkpoint: String = fixture("policy"), to name: String = "made",
        _ more: [String] = []
    ) throws -> Executable.Result {
        try Executable("crux-update").run(
            [
                "apply-delta", "--checkpoint", checkpoint, "--delta", run.folder("update/delta-" + step), "--output",
                run.folder(name),
            ] + more)
    }

    @Test func aDeltaAndTheFirstCheckpointAreTheStep() throws {
        let run = try planned()
        try run.update(to: "update", ["--delta", "--save-every", "4"])
        for step in ["000004", "000006"] {
            let made = try apply(run, step, to: "made-" + step)
            #expect(made.status == 0, "\(made.errors)")
            #expect(try contents(of: run.folder("made-" + step)) == contents(of: run.folder("update/step-" + step)))
        }
        let manifest = try String(contentsOfFile: run.folder("update/manifest.json"), encoding: .utf8)
        #expect(manifest.contains("delta-000004/model.safetensors"))
        #expect(try apply(run, "000006", to: "made-000006").output.contains("already_done"))
    }

    /// A step after a resumed one is still told from the checkpoint that is given.
    @Test func aResumedUpdateTellsWhatDiffersFromItsCheckpoint() throws {
        let run = try planned()
        try run.update(to: "first")
        try run.update(to: "update", ["--delta", "--resume-from", run.folder("first")])
        #expect(try apply(run, "000012").status == 0)
        #expect(try contents(of: run.folder("made")) == contents(of: run.folder("update/step-000012")))
    }

    @Test func nothingIsWrittenWhereTheDeltaIsOfAnotherCheckpoint() throws {
        let run = try planned()
        try run.update(to: "update", ["--delta"])
        let refused = try apply(run, "000006", checkpoint: run.folder("update/step-000006"))
        #expect(refused.status == 3)
        #expect(refused.errors.contains("Give the checkpoint that the update began with"))
        #expect(!FileManager.default.fileExists(atPath: run.folder("made")))
    }

    @Test func aFolderThatIsNoneOfItsOwnStays() throws {
        let run = try planned()
        try run.update(to: "update", ["--delta"])
        try FileManager.default.createDirectory(atPath: run.folder("made"), withIntermediateDirectories: true)
        try "mine".write(toFile: run.folder("made/notes.txt"), atomically: true, encoding: .utf8)
        for flags in [[], ["--overwrite"]] {
            let refused = try apply(run, "000006", flags)
            #expect(refused.status == 5)
            #expect(refused.errors.contains("notes.txt"))
        }
        #expect(try contents(of: run.folder("made")).count == 1)
    }

    private func apply(_ run: Pipeline, _ step: String, _ flags: [String]) throws -> Executable.Result {
        try apply(run, step, to: "made", flags)
    }

    @Test(arguments: [
        (["--weights", "f32"], "recipes/dapo-top20.yaml", "--weights f32 gives the tensors of"),
        ([], "recipes/ppo-critic.yaml", "gets a value head"),
    ])
    func whatHasNoDeltaIsRefused(_ flags: [String], _ recipe: String, _ message: String) throws {
        let run = try Pipeline()
        try run.ingest()
        try run.score(
            recipe.contains("critic") ? ["--critic", fixture("policy"), "--reference", fixture("policy")] : [])
        try run.plan(repository(recipe))
        let refused = try run.runUpdate(["--delta"] + flags)
        #expect(refused.status == 2)
        #expect(refused.errors.contains(message), "\(refused.errors)")
        #expect(!FileManager.default.fileExists(atPath: run.folder("update")))
    }

    @Test func adaptersHaveNoDelta() throws {
        let run = try Pipeline()
        try run.ingest()
        try run.score()
        try run.plan(repository("recipes/dapo-top20.yaml"), ["--set", "trainable={type: lora}"])
        let refused = try run.runUpdate(["--delta"])
        #expect(refused.status == 2)
        #expect(refused.errors.contains("the recipe trains adapters"), "\(refused.errors)")
    }
}
