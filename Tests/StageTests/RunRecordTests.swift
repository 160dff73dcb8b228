import Foundation
import StageSupport
import TestSupport
import Testing

/// `run.json`: who ran what when, apart from all that equal runs have in common.
@Suite struct RunRecordTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    private func run(_ output: String, _ more: [String] = [], environment: [String: String] = [:]) throws
        -> Executable.Result
    {
        try Executable("crux-ingest").run(
            ["--quiet", "--input", fixture("dump"), "--output", folder(output)] + more, environment: environment)
    }

    private func record(_ output: String) throws -> RunRecord { try #require(try RunRecord.read(folder(output))) }

    @Test func itTellsHowTheDirectoryCameAbout() throws {
        let before = Date()
        #expect(try run("ingest", environment: ["SLURM_JOB_ID": "17"]).status == 0)
        let record = try record("ingest"), attempt = try #require(record.attempts.first)
        #expect(record.stage == "ingest" && record.attempts.count == 1 && record.recipe == nil)
        #expect(record.place.hasSuffix("/ingest") && record.reads.contains(fixture("dump")))
        #expect(
            attempt.command == ["crux-ingest", "--quiet", "--input", fixture("dump"), "--output", folder("ingest")])
        #expect(attempt.status == 0 && attempt.rank == 0 && attempt.tasks == 1 && (attempt.seconds ?? -1) > 0)
        #expect(attempt.scheduler == ["SLURM_JOB_ID": "17"])
        #expect(attempt.folder == FileManager.default.currentDirectoryPath)
        let started = try #require(ISO8601DateFormatter.ofMilliseconds.date(from: attempt.started))
        #expect(started > before.addingTimeInterval(-1) && started < Date() && attempt.ended ?? "" > attempt.started)
    }

    /// Neither the manifest nor anything that follows from it knows of the record.
    @Test func equalRunsDifferInNothingElse() throws {
        for output in ["one", "two"] { #expect(try run(output).status == 0) }
        #expect(try contents(of: folder("one")) == contents(of: folder("two")))
        #expect(try record("one") != record("two"))
        #expect(try !String(contentsOfFile: folder("one/manifest.json"), encoding: .utf8).contains("run.json"))
        let text = try String(contentsOfFile: folder("one/run.json"), encoding: .utf8)
        // A finished run is finished, and stays what it was.
        #expect(try run("one").summary["already_done"] as? Bool == true)
        #expect(try String(contentsOfFile: folder("one/run.json"), encoding: .utf8) == text)
    }

    @Test func recipesStandInItAsTheyWereResolved() throws {
        let pipeline = try Pipeline()
        try pipeline.ingest()
        try pipeline.score()
        try pipeline.plan(fixture("recipes/dapo-top20.yaml"))
        try pipeline.update()
        for name in ["plan", "update"] {
            let record = try #require(try RunRecord.read(pipeline.folder(name)))
            let text = try #require(record.recipes["recipe"])
            let own = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? NSDictionary
            let path = pipeline.folder("plan/recipe.resolved.json")
            let resolved = try JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: path)))
            #expect(own == resolved as? NSDictionary && record.recipe == "dapo-top20", "\(name): \(text)")
        }
    }

    @Test func everyProcessThatWorkedInItIsTold() throws {
        let calls = try FailingCalls()
        let killed = try run("ingest", environment: calls.killing(at: "rename", time: 0, path: "rollouts-00001.arrow"))
        #expect(killed.status == -SIGKILL)
        let failed = try run(
            "ingest", environment: calls.environment("open", ENOSPC, path: "rollouts-00002.arrow"))
        #expect(failed.status == 4)
        #expect(try run("ingest").status == 0)
        #expect(try record("ingest").attempts.map(\.status) == [nil, 4, 0])
        // What is made anew has a record of its own.
        #expect(try run("ingest", ["--overwrite"]).status == 0)
        #expect(try record("ingest").attempts.map(\.status) == [0])
    }

    @Test func tasksThatShareTheWorkAreAllTold() throws {
        let tasks = try (0..<3).map { rank in
            try Executable("crux-ingest").start(
                ["--quiet", "--input", fixture("dump"), "--output", folder("out"), "--tasks", "3", "--rank", "\(rank)"])
        }
        for task in tasks { #expect(task.wait().status == 0) }
        let attempts = try record("out").attempts
        #expect(attempts.map(\.rank).sorted() == [0, 1, 2] && attempts.allSatisfy { $0.tasks == 3 })
        #expect(attempts.allSatisfy { $0.status == 0 && $0.ended != nil }, "\(attempts)")
    }

    @Test func aDirectoryThatIsGoneOnWithKeepsItsHistory() throws {
        #expect(try run("out").status == 0)
        try FileManager.default.removeItem(atPath: folder("out/rejected.arrow"))
        #expect(try run("out").status == 0)
        #expect(try record("out").attempts.count == 2)
    }

    @Test func somebodyElsesFileIsKeptAndRefusedBeforeTheWork() throws {
        _ = try folder.folder("out")
        try writeBytes(Array("{\"mine\": 1}".utf8), to: folder("out/run.json"))
        let refused = try run("out")
        #expect(refused.status == 5 && refused.errors.contains("run.json"), "\(refused.errors)")
        #expect(try readBytes(folder("out/run.json")) == Array("{\"mine\": 1}".utf8))
        #expect(!FileManager.default.fileExists(atPath: folder("out/rejected.arrow")))
    }

    @Test func overwritingLeavesNothingOfAStage() throws {
        let loop = try folder.folder("loop"), inner = try folder.folder("loop/iteration-0001/ingest")
        #expect(try run("loop/iteration-0001/ingest").status == 0)
        #expect(FileManager.default.fileExists(atPath: inner + "/run.json"))
        try FileManager.default.createDirectory(atPath: loop + "/.work", withIntermediateDirectories: true)
        #expect(try run("loop/iteration-0001/ingest", ["--overwrite", "--logits", "drop"]).status == 0)
        #expect(try record("loop/iteration-0001/ingest").attempts.count == 1)
    }

    @Test func aRecordThatCannotBeWrittenIsAnErrorLikeAnyOther() throws {
        let calls = try FailingCalls()
        let failed = try run("ingest", environment: calls.environment("rename", ENOSPC, path: "run.json"))
        #expect(failed.status == 4 && failed.errors.contains("run.json"), "\(failed.errors)")
        #expect(!FileManager.default.fileExists(atPath: folder("ingest/manifest.json")))
        #expect(try run("ingest").status == 0)
        #expect(try record("ingest").attempts.map(\.status) == [4, 0])
    }
}

extension ISO8601DateFormatter {
    fileprivate static var ofMilliseconds: ISO8601DateFormatter {
        let formatter = ISO8601DateFormatter()
        formatter.formatOptions = [.withInternetDateTime, .withFractionalSeconds]
        return formatter
    }
}
