import Formats
import Foundation
import TestSupport
import Testing

/// The four built executables in one run folder.
struct Pipeline {
    let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    func ingest(_ input: String = fixture("dump"), _ more: [String] = []) throws {
        try ingest([input], to: "ingest", more)
    }

    func ingest(_ inputs: [String], to name: String, _ more: [String] = []) throws {
        try expectDone(
            Executable("crux-ingest").run(
                ["--quiet", "--output", folder(name)] + inputs.flatMap { ["--input", $0] } + more))
    }

    func score(_ more: [String] = [], from input: String = "ingest", to name: String = "score") throws {
        try expectDone(
            Executable("crux-score").run(["--quiet", "--input", folder(input), "--output", folder(name)] + more))
    }

    func plan(
        _ recipe: String, to name: String = "plan", _ more: [String] = [], scores: String = "score",
        input: String = "ingest"
    ) throws {
        try expectDone(runPlan(recipe, to: name, more, scores: scores, input: input))
    }

    func runPlan(
        _ recipe: String, to name: String = "plan", _ more: [String] = [], scores: String = "score",
        input: String = "ingest"
    ) throws -> Executable.Result {
        try Executable("crux-plan").run(
            [
                "--quiet", "--input", folder(input), "--scores", folder(scores), "--recipe", recipe, "--output",
                folder(name),
            ] + more)
    }

    /// The newest step of an update directory.
    func lastStep(_ name: String) throws -> String {
        let steps = try FileManager.default.contentsOfDirectory(atPath: folder(name)).filter { $0.hasPrefix("step-") }
            .sorted()
        return folder(name) + "/" + (try #require(steps.last))
    }

    /// Moments and masters of an update's last step.
    func lastState(_ name: String) throws -> SafetensorsFile {
        let step = try lastStep(name).components(separatedBy: "step-")
        return try SafetensorsFile(
            path: folder(name) + "/optimizer-" + (try #require(step.last)) + "/optimizer.safetensors")
    }

    func update(plan: String = "plan", to name: String = "update", _ more: [String] = []) throws {
        try expectDone(runUpdate(plan: plan, to: name, more))
    }

    func runUpdate(
        plan: String = "plan", to name: String = "update", checkpoint: String = fixture("policy"), _ more: [String] = []
    ) throws -> Executable.Result {
        try Executable("crux-update").run(updateArguments(plan: plan, to: name, checkpoint: checkpoint) + more)
    }

    func updateArguments(plan: String = "plan", to name: String = "update", checkpoint: String = fixture("policy"))
        -> [String]
    {
        ["--quiet", "--threads", "2", "--plan", folder(plan), "--checkpoint", checkpoint, "--output", folder(name)]
    }

    private func expectDone(_ result: Executable.Result) throws {
        try #require(result.status == 0, "\(result.errors)")
    }
}
