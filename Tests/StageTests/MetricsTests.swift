import Arrow
import Formats
import Foundation
import TestSupport
import Testing

/// `--metrics`: what is written beside metrics.arrow. The bytes of the forms are `MetricFilesTests`'.
@Suite struct MetricsTests {
    private static let names = ["metrics.jsonl", "events.out.tfevents.0.crux"]

    private func planned() throws -> Pipeline {
        let run = try Pipeline()
        try run.ingest()
        try run.score()
        try run.plan(fixture("recipes/dapo-top20.yaml"))
        return run
    }

    private func lines(_ path: String) throws -> [[String: Any]] {
        try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map {
            try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
        }
    }

    private func outputs(_ directory: String) throws -> [String] {
        let manifest = try JSONSerialization.jsonObject(
            with: Data(contentsOf: URL(fileURLWithPath: directory + "/manifest.json")))
        return ((manifest as? [String: Any])?["outputs"] as? [[String: Any]] ?? []).compactMap { $0["path"] as? String }
    }

    /// Also where the update is finished already, and made from the table alone.
    @Test func anUpdatesMetricsAreThoseOfItsTable() throws {
        let run = try planned(), arguments = ["--metrics", "jsonl,tensorboard"]
        try run.update(to: "update", ["--metrics", "jsonl"])
        try run.update(to: "update", arguments)
        let rows = try ArrowTableReader(path: run.folder("update/metrics.arrow"), table: Tables.metrics).rows()
        let lines = try lines(run.folder("update/metrics.jsonl"))
        #expect(lines.map { $0["step"] as? Int } == rows.map { Int($0.step) } && rows.count == 6)
        // As text: Foundation reads numbers of JSON back to the last bit but one.
        let text = try String(contentsOfFile: run.folder("update/metrics.jsonl"), encoding: .utf8)
        for (line, row) in zip(lines, rows) {
            #expect(text.contains("\"loss\": \(row.loss), ") && text.contains("\"seconds\": \(row.seconds), "))
            #expect(line["reward_margin"] is NSNull && line.count == Tables.metrics.columns.count)
        }
        #expect(Set(Self.names).isSubset(of: try outputs(run.folder("update"))))
        let again = try run.runUpdate(to: "update", arguments)
        #expect(again.summary["already_done"] as? Bool == true)
    }

    /// Without the flag no file, and an unknown word is refused before anything is done.
    @Test func nothingIsWrittenThatWasNotAskedFor() throws {
        let run = try planned()
        try run.update()
        #expect(Self.names.allSatisfy { !FileManager.default.fileExists(atPath: run.folder("update/" + $0)) })
        let refused = try run.runUpdate(to: "other", ["--metrics", "jsonl,csv"])
        #expect(refused.status == 2 && refused.errors.contains("jsonl,csv"), "\(refused.errors)")
    }

    @Test func aStrangersFileIsNotWrittenOver() throws {
        let run = try planned()
        _ = try run.folder.folder("update")
        try "mine".write(toFile: run.folder("update/metrics.jsonl"), atomically: true, encoding: .utf8)
        let refused = try run.runUpdate(to: "update", ["--metrics", "jsonl"])
        #expect(refused.status == 5 && refused.errors.contains("metrics.jsonl"), "\(refused.errors)")
        #expect(try String(contentsOfFile: run.folder("update/metrics.jsonl"), encoding: .utf8) == "mine")
    }

    /// A loop that is given more iterations, without saying again what it writes, has the same files as one that was
    /// given all at once.
    @Test func aLoopsMetricsGrowWithIt() throws {
        let folder = try TemporaryDirectory()
        func loop(_ output: String, _ iterations: Int, _ more: [String]) throws {
            let result = try Executable("crux-loop").run(
                [
                    "--quiet", "--recipe", repositoryRoot + "/recipes/grpo.yaml", "--checkpoint", fixture("policy"),
                    "--prompts", fixture("prompts-train.jsonl"), "--output", folder(output), "--iterations",
                    "\(iterations)", "--prompts-per-iteration", "4", "--group-size", "4", "--max-tokens", "40",
                    "--threads", "1",
                ] + more)
            #expect(result.status == 0, "\(result.errors)")
        }
        try loop("whole", 2, ["--metrics", "tensorboard,jsonl"])
        try loop("grown", 1, ["--metrics", "jsonl,tensorboard"])
        try loop("grown", 2, [])
        for name in Self.names {
            #expect(try readBytes(folder("whole/" + name)) == readBytes(folder("grown/" + name)))
        }
        let rows = try ArrowTableReader(path: folder("whole/metrics.arrow"), table: Tables.loop).rows()
        let lines = try lines(folder("whole/metrics.jsonl"))
        #expect(lines.map { $0["sampled_tokens"] as? Int } == rows.map { Int($0.sampledTokens) } && rows.count == 3)
        #expect(lines.map { $0["reward_mean"] is NSNull } == rows.map { $0.rewardMean == nil })
        #expect(Set(Self.names).isSubset(of: try outputs(folder("grown"))))
    }
}
