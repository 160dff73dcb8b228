import Foundation
import TestSupport
import Testing

/// Runs that start together in one directory: they finish it or say who is at work, and nothing in it is ever wrong.
@Suite(.serialized) struct LockTests {
    private let folder: TemporaryDirectory
    private let arguments: [String]

    init() throws {
        folder = try TemporaryDirectory()
        arguments = ["--quiet", "--input", fixture("dump"), "--logits", "copy"]
    }

    private func whole() throws -> [String: Data] {
        #expect(try ingest.run(arguments + ["--output", folder("whole")]).status == 0)
        return try contents(of: folder("whole"))
    }

    @Test func twoEqualRunsFinishOrNameWhoIsAtWork() throws {
        let whole = try whole()
        for pair in 0..<6 {
            let output = folder("pair-\(pair)")
            let first = try ingest.start(arguments + ["--output", output])
            usleep(useconds_t(pair * 4000))
            let second = try ingest.start(arguments + ["--output", output])
            let results = [first.wait(), second.wait()]
            for result in results {
                #expect(
                    result.status == 0 || result.status == 75 && result.errors.contains("at work"),
                    "\(result.status): \(result.errors)")
            }
            #expect(results.contains { $0.status == 0 })
            #expect(try contents(of: output) == whole)
        }
    }

    /// A judge that waits keeps a directory busy for as long as a test wants.
    @Test func whoIsAtWorkIsNamedAndEndsWithItsProcess() throws {
        let run = try Pipeline()
        try run.ingest()
        let score = Executable("crux-score"), output = run.folder("score")
        let judged = [
            "--quiet", "--input", run.folder("ingest"), "--output", output, "--reward-command", "sleep 1000",
            "--reward-timeout", "600",
        ]
        let busy = try score.start(judged)
        while busy.isRunning, !FileManager.default.fileExists(atPath: output + "/.work/configuration.json") {
            usleep(2000)
        }
        let second = try score.run(judged)
        #expect(second.status == 75, "\(second.errors)")
        for word in [output, "at work", "crux-score", "process \(busy.identifier)", "since 20"] {
            #expect(second.errors.contains(word), "\(second.errors)")
        }
        // Neither does a dry run promise what couldn't be done, nor does --overwrite take it away from under its feet.
        #expect(try score.run(judged + ["--dry-run"]).status == 75)
        #expect(try score.run(judged + ["--overwrite"]).status == 75)
        #expect(try score.run(judged + ["--tasks", "2", "--rank", "1"]).status == 75)
        busy.signal(SIGKILL)
        _ = busy.wait()
        let plain = ["--quiet", "--input", run.folder("ingest"), "--output", output, "--overwrite"]
        let third = try score.run(plain)
        #expect(third.status == 0, "\(third.errors)")
        #expect(try contents(of: output).keys.allSatisfy { !$0.hasPrefix(".") })
    }

    @Test(arguments: [2, 3, 7]) func ranksThatStartTogetherDontBreakEachOther(_ tasks: Int) throws {
        let whole = try whole()
        for start in 0..<3 {
            let output = folder("deep/er/\(tasks)-\(start)")
            let running = try (0..<tasks).map {
                try ingest.start(arguments + ["--output", output, "--tasks", "\(tasks)", "--rank", "\($0)"])
            }
            for result in running.map({ $0.wait() }) { #expect(result.status == 0, "\(result.errors)") }
            #expect(try contents(of: output) == whole)
        }
    }

    @Test func whatAKilledRunLeftInAFinishedDirectoryGoesWithTheNext() throws {
        let whole = try whole(), output = folder("whole")
        try FileManager.default.createDirectory(atPath: output + "/.work", withIntermediateDirectories: false)
        for name in [".lock", ".lock-1-of-2", ".lock-turn", ".work/configuration.json"] {
            try "".write(toFile: output + "/" + name, atomically: false, encoding: .utf8)
        }
        let again = try ingest.run(arguments + ["--output", output])
        #expect(again.status == 0 && again.summary["already_done"] as? Bool == true, "\(again.errors)")
        #expect(try contents(of: output) == whole)
    }

    /// Halfway through being emptied it has neither a manifest nor a claim, and files of which nobody knows whose they are.
    private func halfEmptied(_ name: String, locked lock: String) throws -> Int32 {
        let output = try folder.folder(name)
        try "left".write(toFile: output + "/rollouts-00000.arrow", atomically: false, encoding: .utf8)
        let descriptor = open(output + "/" + lock, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        #expect(descriptor >= 0 && flock(descriptor, LOCK_EX | LOCK_NB) == 0)
        return descriptor
    }

    @Test func aDirectoryThatIsBeingEmptiedIsSomebodysAndNotNobodys() throws {
        let descriptor = try halfEmptied("busy", locked: ".lock")
        defer { close(descriptor) }
        for more in [[], ["--dry-run"]] {
            let second = try ingest.run(arguments + ["--output", folder("busy"), "--overwrite"] + more)
            #expect(second.status == 75 && second.errors.contains("at work"), "\(second.status): \(second.errors)")
        }
        #expect(try contents(of: folder("busy")).keys.sorted() == [".lock", "rollouts-00000.arrow"])
    }

    @Test func aRankWaitsForItsTurnBeforeItJudges() throws {
        let whole = try whole(), output = folder("turn"), descriptor = try halfEmptied("turn", locked: ".lock-turn")
        let first = try ingest.start(arguments + ["--output", output, "--overwrite", "--tasks", "2", "--rank", "0"])
        usleep(300_000)
        #expect(first.isRunning)
        try FileManager.default.removeItem(atPath: output + "/rollouts-00000.arrow")
        close(descriptor)
        #expect(first.wait().status == 0)
        let second = try ingest.run(arguments + ["--output", output, "--tasks", "2", "--rank", "1"])
        #expect(second.status == 0, "\(second.errors)")
        #expect(try contents(of: output) == whole)
    }

    /// Each of them wants it emptied; what one has begun, the others go on with.
    @Test func ranksThatOverwriteTogetherEmptyItOnce() throws {
        let whole = try whole()
        let output = folder("again")
        #expect(
            try ingest.run(["--quiet", "--input", fixture("dump"), "--logits", "drop", "--output", output]).status == 0)
        let running = try (0..<3).map {
            try ingest.start(arguments + ["--output", output, "--tasks", "3", "--rank", "\($0)", "--overwrite"])
        }
        for result in running.map({ $0.wait() }) { #expect(result.status == 0, "\(result.errors)") }
        #expect(try contents(of: output) == whole)
    }

    /// What two equal runs could leave: a directory that counts as finished, with an empty file of which the manifest
    /// has the digest. It is made again.
    @Test func aFinishedDirectoryWithAnEmptyFileIsMadeAgain() throws {
        let whole = try whole()
        try FileManager.default.copyItem(atPath: fixture("cases/faults/concurrent-0"), toPath: folder("damaged"))
        let again = try ingest.run(arguments + ["--output", folder("damaged")])
        #expect(again.status == 0, "\(again.errors)")
        #expect(try contents(of: folder("damaged")).filter { $0.key != "README" } == whole)
    }

    @Test func whatAKilledRunWasWritingIsSweptAway() throws {
        let whole = try whole()
        let output = try folder.folder("killed"), temporary = "rollouts-00000.arrow.0123456789abcdef.tmp-crux"
        try writeBytes([1], to: output + "/" + temporary)
        // Somebody's own that only looks like it stays.
        try writeBytes([2], to: output + "/mine.tmp-crux")
        let result = try ingest.run(arguments + ["--output", output])
        #expect(result.status == 0, "\(result.errors)")
        #expect(try contents(of: output) == whole.merging(["mine.tmp-crux": Data([2])]) { $1 })
    }
}
