import Foundation
import TestSupport
import Testing

/// What the system refuses: each call in turn, with the exit code and the words that it deserves, and nothing lost.
@Suite struct SystemFaultTests {
    private let calls: FailingCalls
    private let folder: TemporaryDirectory

    init() throws { (calls, folder) = (try FailingCalls(), try TemporaryDirectory()) }

    private func ingest(_ environment: [String: String] = [:], _ more: [String] = []) throws -> Executable.Result {
        try Executable("crux-ingest").run(
            ["--quiet", "--input", fixture("dump"), "--output", folder("ingest")] + more, environment: environment)
    }

    private func isFinished(_ name: String) -> Bool {
        FileManager.default.fileExists(atPath: folder(name) + "/manifest.json")
    }

    /// What is told, and by which call and error it came about.
    struct Fault: Sendable, CustomTestStringConvertible {
        let call: String
        let error: Int32
        var first = 0
        let path: String
        let words: [String]
        var testDescription: String { "\(call) of \(path), time \(first), error \(error)" }
    }

    static let faults = [
        // Two of three shards seen: a listing's error is not its end.
        Fault(
            call: "readdir", error: EIO, first: 4, path: "fixtures/dump/",
            words: ["fixtures/dump", "list the folder", "Input/output error"]),
        Fault(
            call: "open", error: EIO, path: "rollouts-00001.rollouts.zst",
            words: ["rollouts-00001", "Input/output error"]),
        Fault(
            call: "open", error: EMFILE, path: "rollouts-00001.rollouts.zst",
            words: ["Too many open files", "ulimit -n"]),
        Fault(
            call: "mmap", error: ENOMEM, path: "rollouts-00001.rollouts.zst",
            words: ["map it", "Cannot allocate memory"]),
        Fault(call: "open", error: ENOSPC, path: "rollouts-00002.arrow", words: ["create the file", "No space left"]),
        Fault(
            call: "write", error: EIO, path: "rollouts-00001.arrow", words: ["write the file", "Input/output error"]),
        Fault(call: "fsync", error: EIO, path: "rollouts-00001.arrow", words: ["to disk", "Input/output error"]),
        Fault(
            call: "rename", error: EIO, path: "rollouts-00001.arrow",
            words: ["rename the finished file", "Input/output error"]),
        Fault(call: "rename", error: ENOSPC, path: "manifest.json", words: ["manifest.json", "No space left"]),
        // Of folders: their names have a slash at the end.
        Fault(
            call: "fsync", error: EIO, first: 2, path: "/ingest/",
            words: ["name of the finished file", "Input/output error"]),
        Fault(call: "mkdir", error: EROFS, path: "ingest", words: ["create the folder", "Read-only file system"]),
    ]

    @Test(arguments: faults) func aFailedCallIsAnErrorOfInputAndOutputAndTheNextRunIsWhole(_ fault: Fault) throws {
        let failed = try ingest(calls.environment(fault.call, fault.error, first: fault.first, path: fault.path))
        #expect(failed.status == 4, "\(failed.errors)")
        for word in fault.words { #expect(failed.errors.contains(word), "no '\(word)' in \(failed.errors)") }
        #expect(!isFinished("ingest"))
        try requireWhole()
    }

    private func requireWhole() throws {
        let next = try ingest()
        try #require(next.status == 0, "\(next.errors)")
        let undisturbed = try TemporaryDirectory()
        let other = try Executable("crux-ingest").run([
            "--quiet", "--input", fixture("dump"), "--output", undisturbed("ingest"),
        ])
        try #require(other.status == 0, "\(other.errors)")
        #expect(try contents(of: folder("ingest")) == contents(of: undisturbed("ingest")))
    }

    @Test(arguments: ["open", "read", "write", "fsync", "flock", "rename"]) func interruptedCallsAreMadeAgain(
        _ call: String
    ) throws {
        // Such a call there is: where it fails, the run does.
        let failed = try ingest(calls.environment(call, EIO, count: 2, path: "/ingest"))
        #expect(failed.status == 4 && failed.errors.contains("Input/output error"), "\(failed.errors)")
        let result = try ingest(calls.environment(call, EINTR, count: 2, path: "/ingest"))
        #expect(result.status == 0, "\(result.errors)")
        try requireWhole()
    }

    /// Some file systems have no locks: a run does without, and says so.
    @Test(arguments: [ENOSYS, EOPNOTSUPP, ENOLCK]) func aFileSystemWithoutLocksIsNoFault(_ error: Int32) throws {
        let result = try Executable("crux-ingest").run(
            ["--input", fixture("dump"), "--output", folder("ingest")],
            environment: calls.environment("flock", error, path: "/ingest"))
        #expect(result.status == 0 && result.errors.contains("knows no locks"), "\(result.errors)")
        try requireWhole()
    }

    /// Some file systems have no sync for folders.
    @Test func aFolderThatKnowsNoSyncIsNoFault() throws {
        #expect(try ingest(calls.environment("fsync", EINVAL, path: "/ingest/")).status == 0)
    }

    /// A manifest that can't be read is no missing one: an unfinished directory would be made anew, with another
    /// configuration perhaps.
    @Test(arguments: ["open", "read"]) func aManifestThatCannotBeReadIsNotTakenForMissing(_ call: String) throws {
        try #require(try ingest().status == 0)
        let before = try contents(of: folder("ingest"))
        for arguments in [["--logits", "drop"], ["--overwrite", "--logits", "drop"]] {
            let refused = try ingest(calls.environment(call, EIO, path: "manifest.json"), arguments)
            #expect(
                refused.status == 4 && refused.errors.contains("manifest.json")
                    && refused.errors.contains("Input/output error"), "\(refused.errors)")
            #expect(try contents(of: folder("ingest")) == before)
        }
    }

    /// What is listed elsewhere: the checkpoint's files on the way into a saved step, and the steps of an update that
    /// goes on.
    @Test func listingsOfCheckpointsAndStepsEndInTheirErrorToo() throws {
        let run = try Pipeline()
        try run.ingest()
        try run.score()
        try run.plan(repository("recipes/grpo.yaml"))
        let saving = try Executable("crux-update").run(
            run.updateArguments(checkpoint: fixture("policy")),
            environment: calls.environment("readdir", EIO, first: 3, path: "fixtures/policy/"))
        #expect(saving.status == 4 && saving.errors.contains("list the folder"), "\(saving.errors)")
        #expect(!FileManager.default.fileExists(atPath: run.folder("update/manifest.json")))
        let going = try Executable("crux-update").run(
            run.updateArguments(), environment: calls.environment("readdir", EIO, first: 1, path: "/update/"))
        #expect(going.status == 4 && going.errors.contains("list the folder"), "\(going.errors)")
        try run.update()
        let resumed = try Executable("crux-update").run(
            run.updateArguments(to: "more") + ["--resume-from", run.folder("update")],
            environment: calls.environment("readdir", EIO, first: 1, path: "/update/"))
        #expect(resumed.status == 4 && resumed.errors.contains("list the folder"), "\(resumed.errors)")
    }

    /// A recipe that the system couldn't read isn't one that isn't there.
    @Test(arguments: [EIO, EMFILE, ENOMEM]) func aRecipeThatCannotBeReadIsASystemsFault(_ error: Int32) throws {
        let run = try Pipeline(), recipe = repository("recipes/grpo.yaml")
        try run.ingest()
        try run.score()
        let arguments = [
            "--quiet", "--input", run.folder("ingest"), "--scores", run.folder("score"), "--recipe", recipe, "--output",
            run.folder("plan"),
        ]
        let failed = try Executable("crux-plan").run(
            arguments, environment: calls.environment("open", error, path: "recipes/grpo.yaml"))
        #expect(failed.status == 4, "\(failed.errors)")
        #expect(failed.errors.contains("grpo.yaml") && failed.errors.contains(String(cString: strerror(error))))
        let again = try Executable("crux-plan").run(
            arguments, environment: calls.environment("open", EINTR, count: 1, path: "recipes/grpo.yaml"))
        #expect(again.status == 0, "\(again.errors)")
    }

    /// A file that can't be looked at is no shard: its lines would all be rejected, and the run call that done.
    @Test func aFileOfLinesThatCannotBeOpenedOnceIsTakenForNothingElse() throws {
        let lines = folder("lines.txt")
        try FileManager.default.copyItem(atPath: fixture("cases/A11-canonical-equality/in.jsonl"), toPath: lines)
        var failures = 0
        for time in 0..<8 {
            let output = folder("ingest-\(time)")
            let result = try Executable("crux-ingest").run(
                ["--quiet", "--input", lines, "--output", output],
                environment: calls.environment("open", EIO, first: time, count: 1, path: "lines.txt"))
            failures += result.status == 0 ? 0 : 1
            #expect(result.status == 0 || (result.status == 4 && result.errors.contains("Input/output error")))
            guard result.status == 0 else { continue }
            #expect((result.summary["counts"] as? [String: Int])?["rejected"] == 0, "time \(time): \(result.output)")
        }
        #expect(failures > 1, "\(failures) calls failed")
    }

    /// It would wait for a writer for ever.
    @Test func aPipeInADumpIsNoShardAndNobodyWaitsForIt() throws {
        let dump = folder("dump")
        try FileManager.default.copyItem(atPath: fixture("dump"), toPath: dump)
        try #require(mkfifo(dump + "/zz-pipe.rollouts.zst", 0o600) == 0)
        let running = try Executable("crux-ingest").start(["--quiet", "--input", dump, "--output", folder("ingest")])
        running.wait(until: { false })
        running.signal(SIGKILL)
        let result = running.wait()
        #expect(result.status == 1 && result.errors.contains("not a regular file"), "\(result.errors)")
    }

    /// No run of a directory comes after a report that would sweep away what it left.
    @Test func aReportThatCannotTakeItsNameLeavesNothing() throws {
        let run = try Pipeline()
        try run.ingest()
        try run.score()
        let reports = try run.folder.folder("reports")
        let result = try Executable("crux-report").run(
            [
                "page", "--quiet", "--input", run.folder("ingest"), "--scores", run.folder("score"), "--output",
                reports + "/page.html",
            ], environment: calls.environment("rename", EIO, path: "page.html"))
        #expect(result.status == 4 && result.errors.contains("page.html"), "\(result.errors)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: reports).isEmpty)
    }

    /// A folder that the disk doesn't give may hold runs: the scan isn't done.
    @Test func aScanThatTheSystemFailsIsNotDone() throws {
        let run = try Pipeline(), catalog = run.folder("catalog.sqlite")
        try run.ingest()
        let arguments = ["scan", "--quiet", run.folder.path, "--catalog", catalog]
        let failed = try Executable("crux-runs").run(
            arguments, environment: calls.environment("readdir", EIO, path: "/ingest/"))
        #expect(failed.status == 4 && failed.errors.contains("list the folder"), "\(failed.errors)")
        let again = try Executable("crux-runs").run(arguments + ["--format", "json"])
        #expect(again.status == 0 && again.summary["new"] as? Int == 1, "\(again.output) \(again.errors)")
    }

    @Test func aCatalogThatTheDiskDoesNotTakeIsASystemsFault() throws {
        let run = try Pipeline(), catalog = run.folder("catalog.sqlite")
        try run.ingest()
        let arguments = ["scan", "--quiet", run.folder.path, "--catalog", catalog]
        let failed = try Executable("crux-runs").run(
            arguments, environment: calls.environment("pwrite64", EIO, first: 1, path: "catalog.sqlite"))
        #expect(failed.status == 4 && failed.errors.contains("disk I/O error"), "\(failed.errors)")
        #expect(try Executable("crux-runs").run(arguments).status == 0)
    }

    /// Who worked in a directory before stays known, or the run fails.
    @Test func earlierAttemptsAreNotForgottenWhereTheirRecordCannotBeRead() throws {
        try #require(try ingest().status == 0)
        var failures = 0
        for time in 0..<6 {
            // Unfinished again: the record of the first run is all that tells of it.
            try FileManager.default.removeItem(atPath: folder("ingest/rejected.arrow"))
            let result = try ingest(calls.environment("open", EIO, first: time, count: 1, path: "/ingest/run.json"))
            failures += result.status == 0 ? 0 : 1
            #expect(result.status == 0 || result.status == 4, "\(result.errors)")
            if result.status != 0 { try #require(try ingest().status == 0) }
            let record = try JSONSerialization.jsonObject(with: Data(try readBytes(folder("ingest/run.json"))))
            let attempts = (record as? [String: Any])?["attempts"] as? [Any] ?? []
            #expect(attempts.count > time + 1, "time \(time): \(attempts.count) attempts")
        }
        #expect(failures > 0)
    }

    /// A thread that the system doesn't give is no row that takes too long.
    @Test func aThreadThatDoesNotStartChangesNoVerdict() throws {
        let run = try Pipeline()
        try run.ingest()
        try run.score(to: "undisturbed")
        var refusals = 0
        for first in 0..<8 {
            let arguments = ["--quiet", "--input", run.folder("ingest"), "--output", run.folder("failed-\(first)")]
            let result = try Executable("crux-score").run(
                arguments, environment: calls.environment("thread", EAGAIN, first: first, count: 1))
            if result.status == 0 {
                #expect(try contents(of: run.folder("failed-\(first)")) == contents(of: run.folder("undisturbed")))
            } else {
                // Whoever wanted it: OpenBLAS before our first line, or a reward.
                refusals += 1
                #expect(result.status == 4 && result.errors.contains("ulimit -u"), "\(result.errors)")
                #expect(!isFinished("failed-\(first)"))
            }
        }
        #expect(refusals > 0, "no thread was met")
    }
}
