import Foundation
import TestSupport
import Testing

/// Memory that can't be had: a sentence and exit code 4, never a signal, a hang or something half-written that looks
/// whole. `make faults` tries many more limits.
@Suite struct MemoryLimitTests {
    private let run: Pipeline

    init() throws {
        run = try Pipeline()
        try run.ingest()
    }

    private func isFinished(_ name: String) -> Bool {
        FileManager.default.fileExists(atPath: run.folder(name) + "/manifest.json")
    }

    /// A policy's scores need OpenBLAS's buffers, 128 MiB for each thread, beside the program and its libraries.
    @Test(arguments: [1, 4]) func productsWithoutMemoryEndWithASentence(_ threads: Int) throws {
        func score(_ name: String, mebibytes: Int?) throws -> Executable.Result {
            try Executable("crux-score").run(
                [
                    "--quiet", "--input", run.folder("ingest"), "--output", run.folder(name), "--checkpoint",
                    fixture("policy"), "--threads", "\(threads)",
                ], addressSpaceLimit: mebibytes.map { $0 << 10 })
        }
        try #require(try score("undisturbed", mebibytes: nil).status == 0)
        var refusals = 0
        for mebibytes in [150, 200, 300, 400, 600, 8000] {
            let name = "within-\(mebibytes)", result = try score(name, mebibytes: mebibytes)
            if result.status == 0 {
                #expect(try contents(of: run.folder(name)) == contents(of: run.folder("undisturbed")))
                continue
            }
            refusals += 1
            #expect(result.status == 4 && result.errors.contains("ulimit -v"), "\(mebibytes) MiB: \(result)")
            #expect(result.errors.split(separator: "\n").count == 1, "\(result.errors)")
            #expect(!isFinished(name))
            // The same command goes on where it was refused.
            try #require(try score(name, mebibytes: nil).status == 0)
            #expect(try contents(of: run.folder(name)) == contents(of: run.folder("undisturbed")))
        }
        #expect(refusals > 0 && isFinished("within-8000"))
    }

    @Test func aRefusalIsJSONWhereErrorsAre() throws {
        let result = try Executable("crux-score").run(
            [
                "--quiet", "--input", run.folder("ingest"), "--output", run.folder("score"), "--checkpoint",
                fixture("policy"), "--threads", "8", "--log-format", "json",
            ], addressSpaceLimit: 400 << 10)
        let line = try #require(result.errors.split(separator: "\n").last),
            object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
        #expect(result.status == 4 && object?["status"] as? Int == 4 && object?["level"] as? String == "error")
        #expect((object?["message"] as? String)?.contains("ulimit -v") == true, "\(line)")
    }
}
