import Foundation
import TestSupport
import Testing

/// Killed at any moment and run again, score and plan leave the bytes of an undisturbed run.
@Suite(.serialized) struct KillTests {
    private func checkKills(_ name: String, _ arguments: (String) -> [String], _ folder: TemporaryDirectory) throws {
        #expect(try Executable(name).run(arguments(folder("whole"))).status == 0)
        let whole = try contents(of: folder("whole"))
        for delay in [0, 2, 5, 8, 12, 16, 20, 25, 30, 40] {
            let target = folder("killed-\(delay)"), process = try Executable(name).start(arguments(target))
            usleep(useconds_t(delay * 1000))
            process.signal(SIGKILL)
            _ = process.wait()
            #expect(try Executable(name).run(arguments(target)).status == 0)
            #expect(try contents(of: target) == whole, "killed after \(delay) ms")
        }
    }

    @Test func scoreGoesOnAfterAKill() throws {
        let run = try Pipeline()
        try run.ingest()
        try checkKills("crux-score", { ["--quiet", "--input", run.folder("ingest"), "--output", $0] }, run.folder)
    }

    @Test func planGoesOnAfterAKill() throws {
        let run = try Pipeline()
        try run.ingest()
        try run.score()
        let recipe = fixture("recipes/dapo-top20.yaml")
        try checkKills(
            "crux-plan", { ["--quiet", "--input", run.folder("ingest"), "--scores", run.folder("score"), "--recipe", recipe, "--output", $0] }, run.folder)
    }

    @Test func scoreAndPlanHaveTheSameBytesForAnyThreadsAndTasks() throws {
        let run = try Pipeline()
        try run.ingest()
        func score(_ output: String, _ more: [String]) throws {
            let result = try Executable("crux-score").run(["--quiet", "--input", run.folder("ingest"), "--output", run.folder(output)] + more)
            #expect(result.status == 0, "\(result.errors)")
        }
        try score("one", ["--threads", "1"])
        try score("two", ["--threads", "2"])
        for rank in [2, 0, 1] { try score("three", ["--tasks", "3", "--rank", "\(rank)"]) }
        let whole = try contents(of: run.folder("one"))
        #expect(try contents(of: run.folder("two")) == whole)
        #expect(try contents(of: run.folder("three")) == whole)
    }
}
