import Foundation
import TestSupport
import Testing

/// The four built executables in one run folder.
struct Pipeline {
    let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    func ingest(_ input: String = fixture("dump"), _ more: [String] = []) throws {
        try expectDone(Executable("crux-ingest").run(["--quiet", "--input", input, "--output", folder("ingest")] + more))
    }

    func score(_ more: [String] = []) throws {
        try expectDone(Executable("crux-score").run(["--quiet", "--input", folder("ingest"), "--output", folder("score")] + more))
    }

    func plan(_ recipe: String, to name: String = "plan") throws { try expectDone(runPlan(recipe, to: name)) }

    func runPlan(_ recipe: String, to name: String = "plan") throws -> Executable.Result {
        try Executable("crux-plan").run(["--quiet", "--input", folder("ingest"), "--scores", folder("score"), "--recipe", recipe, "--output", folder(name)])
    }

    func update(plan: String = "plan", to name: String = "update", _ more: [String] = []) throws {
        try expectDone(runUpdate(plan: plan, to: name, more))
    }

    func runUpdate(plan: String = "plan", to name: String = "update", checkpoint: String = fixture("policy"), _ more: [String] = []) throws -> Executable.Result {
        try Executable("crux-update").run(updateArguments(plan: plan, to: name, checkpoint: checkpoint) + more)
    }

    func updateArguments(plan: String = "plan", to name: String = "update", checkpoint: String = fixture("policy")) -> [String] {
        ["--quiet", "--threads", "2", "--plan", folder(plan), "--checkpoint", checkpoint, "--output", folder(name)]
    }

    private func expectDone(_ result: Executable.Result) throws {
        try #require(result.status == 0, "\(result.errors)")
    }
}
