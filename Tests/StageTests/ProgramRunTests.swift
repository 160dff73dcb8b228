import Files
import Foundation
import Scratch
import StageSupport
import Testing

/// Programs that this process starts and waits for.
@Suite struct ProgramRunTests {
    private func shell(_ script: String, isWanted: () -> Bool = { true }) throws -> ProgramRun {
        try ProgramRun("/bin/sh", ["-c", script], output: .kept, isWanted: isWanted)
    }

    @Test func itsEndAndWhatItSaidAreTold() throws {
        let found = try shell("echo out; echo err >&2; exit 3")
        #expect(found.end == .exited(3))
        #expect(found.output == "out\n")
        #expect(found.errors == "err\n")
        #expect(try shell("kill -KILL $$").end == .signalled(SIGKILL))
    }

    /// More than pipes hold, on both at once: neither waits for the other to be read.
    @Test func muchIsReadFromBothAtOnce() throws {
        let found = try shell(
            "head -c 300000 /dev/zero | tr '\\0' o & head -c 300000 /dev/zero | tr '\\0' e >&2; wait; echo last >&2")
        #expect(found.output == String(repeating: "o", count: 300_000))
        #expect(found.errors.hasSuffix("e" + "last\n"))
        // The last 64 KiB.
        #expect(found.errors.utf8.count == 1 << 16)
    }

    @Test func whatIsNotKeptGoesNowhere() throws {
        #expect(try ProgramRun("/bin/echo", ["out"]).output.isEmpty)
    }

    /// Its stdin is empty, it has no other descriptor, and it is in a group of its own.
    @Test func itHasNothingOfThisProcess() throws {
        let folder = open("/", O_RDONLY)
        defer { close(folder) }
        #expect(try shell("cat; ls /proc/$$/fd; true").output == "0\n1\n2\n")
        // The process's number, and its group's.
        #expect(try shell("cut -d' ' -f5 /proc/$$/stat | grep -x $$ > /dev/null").end == .exited(0))
    }

    @Test func itHasTheEnvironmentThatItIsGiven() throws {
        let found = try ProgramRun("/usr/bin/env", [], environment: ["A": "b c"], output: .kept)
        #expect(found.output == "A=b c\n")
    }

    @Test func whoIsNoLongerWantedIsAskedToEndOnce() throws {
        let found = try shell("trap 'echo asked; exit 7' TERM; sleep 60 & wait", isWanted: { false })
        #expect(found.end == .exited(7) || found.end == .signalled(SIGTERM))
    }

    @Test func whatCannotBeStartedIsAnErrorThatNamesIt() throws {
        let error = try #require(throws: IOError.self) { try ProgramRun("/nonexistent/program", []) }
        #expect(error.file == "/nonexistent/program")
        #expect(error.description.contains("No such file or directory"))
    }

    /// An end of a pipe that stayed open would be missed sooner or later.
    @Test func nothingStaysOpen() throws {
        func count() throws -> Int { try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count }
        _ = try shell("true")
        let before = try count()
        for _ in 0..<200 { _ = try shell("true") }
        // Other tests open files meanwhile.
        #expect(try count() < before + 100)
    }
}

@Suite struct ParallelTests {
    @Test(arguments: [0, 1, 2, 7, 100], [1, 2, 5]) func everyIndexOnceAndInOrder(_ count: Int, _ threads: Int) throws {
        #expect(try parallelMap(count, threads: threads) { $0 * $0 } == (0..<count).map { $0 * $0 })
    }

    @Test func theFirstErrorByIndexIsThrownWhenAllHaveEnded() throws {
        struct Own: Error, Equatable { let index: Int }
        #expect(throws: Own(index: 3)) {
            try parallelMap(20, threads: 4) { index in
                usleep(UInt32(1000 * (20 - index)))
                if index >= 3 { throw Own(index: index) }
            }
        }
    }
}
