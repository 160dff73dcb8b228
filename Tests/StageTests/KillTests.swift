import Foundation
import TestSupport
import Testing

/// Killed at any moment and run again, score, plan and update leave the bytes of an undisturbed run.
@Suite(.serialized) struct KillTests {
    private func checkKills(_ name: String, _ arguments: (String) -> [String], _ folder: TemporaryDirectory) throws {
        #expect(try Executable(name).run(arguments(folder("whole"))).status == 0)
        let whole = try contents(of: folder("whole"))
        try KillSweep().expectSameBytes(name, arguments, in: folder, whole)
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
            "crux-plan",
            {
                [
                    "--quiet", "--input", run.folder("ingest"), "--scores", run.folder("score"), "--recipe", recipe,
                    "--output", $0,
                ]
            }, run.folder)
    }

    @Test func updateGoesOnAfterAKillAndNoStepStandsWithoutItsOptimizer() throws {
        let run = try Pipeline()
        try run.ingest()
        try run.score()
        try run.plan(fixture("recipes/dapo-top20.yaml"))
        let whole = try Self.timed { try run.update(to: "whole", ["--save-every", "1"]) }
        let expected = try contents(of: run.folder("whole")).filter { $0.key != "metrics.arrow" }
        // Spread over the run's own length, however fast the machine is.
        var unfinished = 0
        for part in 1...9 {
            let name = "killed-\(part)",
                process = try Executable("crux-update").start(run.updateArguments(to: name) + ["--save-every", "1"])
            usleep(useconds_t(whole * Double(part) / 10))
            process.signal(SIGKILL)
            _ = process.wait()
            unfinished += KillSweep.isUnfinished(run.folder(name)) ? 1 : 0
            try checkStandingSteps(run.folder(name), expected, "part \(part)")
            try run.update(to: name, ["--save-every", "1"])
            #expect(
                try contents(of: run.folder(name)).filter { $0.key != "metrics.arrow" } == expected,
                "killed at \(part)/10")
        }
        #expect(unfinished > 2, "\(unfinished) kills met an unfinished directory")
    }

    @Test func noStepIsEverSeenWithoutItsOptimizer() throws {
        let run = try Pipeline()
        try run.ingest()
        try run.score()
        try run.plan(fixture("recipes/dapo-top20.yaml"))
        let process = try Executable("crux-update").start(run.updateArguments(to: "seen") + ["--save-every", "1"])
        var seen = 0
        for step in 1...6 {
            let weights = run.folder("seen/step-00000\(step)"), optimizer = run.folder("seen/optimizer-00000\(step)")
            while process.isRunning, access(weights, F_OK) != 0 {}
            seen += access(weights, F_OK) == 0 && access(optimizer, F_OK) == 0 ? 1 : 0
        }
        #expect(process.wait().status == 0 && seen == 6)
    }

    /// What has its name is whole, and no step is there before its optimizer.
    private func checkStandingSteps(_ update: String, _ expected: [String: Data], _ comment: Comment) throws {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: update)) ?? []
        for name in names where name.wholeMatch(of: /(step|optimizer)-\d{6}/) != nil {
            for (file, data) in try contents(of: update + "/" + name) {
                #expect(expected[name + "/" + file] == data, comment)
            }
            if name.hasPrefix("step-") {
                #expect(names.contains(name.replacingOccurrences(of: "step-", with: "optimizer-")), comment)
            }
        }
    }

    /// Microseconds.
    private static func timed(_ body: () throws -> Void) rethrows -> Double {
        let start = Date()
        try body()
        return 1e6 * Date().timeIntervalSince(start)
    }

    @Test func scoreAndPlanHaveTheSameBytesForAnyThreadsAndTasks() throws {
        let run = try Pipeline()
        try run.ingest()
        func score(_ output: String, _ more: [String]) throws {
            let result = try Executable("crux-score").run(
                ["--quiet", "--input", run.folder("ingest"), "--output", run.folder(output)] + more)
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
