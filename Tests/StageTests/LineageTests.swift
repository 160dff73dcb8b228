import Foundation
import TestSupport
import Testing

/// What was made from what is known by digest, and no byte depends on where a run's folder lies.
@Suite struct LineageTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    /// Stages of a run in `root`, from a dump that may lie anywhere.
    private func stages(_ root: String, dump: String) -> [(String, [String])] {
        [
            ("crux-ingest", ["--input", dump, "--output", root + "/ingest"]),
            (
                "crux-score",
                [
                    "--input", root + "/ingest", "--output", root + "/score", "--checkpoint", fixture("policy"),
                    "--threads", "1",
                ]
            ),
            (
                "crux-plan",
                [
                    "--input", root + "/ingest", "--scores", root + "/score", "--recipe",
                    fixture("recipes/dapo-top20.yaml"), "--output", root + "/plan",
                ]
            ),
            (
                "crux-update",
                [
                    "--plan", root + "/plan", "--checkpoint", fixture("policy"), "--output", root + "/update",
                    "--threads", "1",
                ]
            ),
        ]
    }

    private func run(_ root: String, dump: String, _ names: Set<String>? = nil) throws -> [[String: Any]] {
        try stages(root, dump: dump).filter { names?.contains($0.0) ?? true }.map { name, arguments in
            let result = try Executable(name).run(["--quiet"] + arguments)
            #expect(result.status == 0, "\(name): \(result.errors)")
            return result.summary
        }
    }

    /// But for the file that holds wall-clock seconds.
    private func files(_ root: String) throws -> [String: Data] {
        try contents(of: root).filter { $0.key != "update/metrics.arrow" }
    }

    private func copyDump(_ to: String) throws {
        try FileManager.default.createDirectory(
            atPath: (to as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        try FileManager.default.copyItem(atPath: fixture("dump"), toPath: to)
    }

    @Test func aMovedRunIsFinishedAndGivesTheSameBytes() throws {
        try copyDump(folder("a/x/dump"))
        _ = try run(folder("a/x"), dump: folder("a/x/dump"))
        let before = try files(folder("a/x"))
        _ = try folder.folder("b")
        try FileManager.default.moveItem(atPath: folder("a/x"), toPath: folder("b/y"))
        for summary in try run(folder("b/y"), dump: folder("b/y/dump")) {
            #expect(summary["already_done"] as? Bool == true)
        }
        #expect(try files(folder("b/y")) == before)
        // From the beginning in yet another place, deeper and by a relative name.
        try copyDump(folder("c/d/e/dump"))
        _ = try run(folder("c/d/e"), dump: folder("c/d/../d/e/dump/"))
        #expect(try files(folder("c/d/e")) == before)
    }

    @Test func aMovedRunGoesOnWhereItStopped() throws {
        // The dump beside the run's folder: moved together, its absolute place is no more.
        try copyDump(folder("a/dump"))
        _ = try run(folder("a/run"), dump: folder("a/dump"))
        let before = try files(folder("a/run"))
        for name in ["score", "plan", "update"] { try FileManager.default.removeItem(atPath: folder("a/run/" + name)) }
        try FileManager.default.moveItem(atPath: folder("a"), toPath: folder("moved"))
        let summaries = try run(folder("moved/run"), dump: folder("moved/dump"))
        #expect(summaries[0]["already_done"] as? Bool == true)
        #expect(try files(folder("moved/run")) == before)
    }

    @Test func anotherFileOfTheSameNameIsNotTakenForTheDump() throws {
        try copyDump(folder("a/dump"))
        _ = try run(folder("a/run"), dump: folder("a/dump"), ["crux-ingest"])
        try FileManager.default.moveItem(atPath: folder("a"), toPath: folder("moved"))
        let shard = folder("moved/dump/rollouts-00000.rollouts.zst")
        var bytes = try readBytes(shard)
        bytes[bytes.count - 1] ^= 1
        try writeBytes(bytes, to: shard)
        let score = ["--quiet", "--input", folder("moved/run/ingest"), "--output", folder("moved/run/score")]
        let result = try Executable("crux-score").run(score)
        #expect(
            result.status == 1 && result.errors.contains("no such file") && result.errors.contains("move it together"),
            "\(result.errors)")
        #expect(try Executable("crux-score").run(score + ["--dry-run"]).status == 3)
    }

    @Test func scoresOfAnotherIngestAreRefused() throws {
        let run = try Pipeline()
        try run.ingest()
        try run.score()
        // The same ids and lengths, another policy's log-probabilities: made by rewriting one metadata value in each
        // frame.
        try run.ingest([fixture("dump")], to: "other", ["--logits", "drop"])
        for stale in ["other"] {
            let result = try run.runPlan(fixture("recipes/dapo-top20.yaml"), to: "p", input: stale)
            #expect(result.status == 3, "\(result.errors)")
            for word in [
                run.folder("score"), "made from another", "crux-score --input \(run.folder("other"))", "--overwrite",
            ] {
                #expect(result.errors.contains(word), "\(result.errors)")
            }
            #expect(!FileManager.default.fileExists(atPath: run.folder("p")))
        }
        let dry = try run.runPlan(fixture("recipes/dapo-top20.yaml"), to: "p", ["--dry-run"], input: "other")
        #expect(dry.status == 3)
        let report = try Executable("crux-report").run([
            "--input", run.folder("other"), "--scores", run.folder("score"), "--output", run.folder("e"),
        ])
        #expect(report.status == 3 && report.errors.contains("made from another"), "\(report.errors)")
    }

    @Test func jobsBasesAndTheirResultsBelongTogether() throws {
        let chain = try JobChain("fr3e", JobChain.fr3e)
        try chain.wholeWay()
        let jobs = chain.folder("expansion/jobs")
        // Other bases beside the same jobs.
        let bases = try readBytes(jobs + "/bases.arrow")
        try FileManager.default.copyItem(atPath: jobs, toPath: chain.folder("stale"))
        var changed = bases
        changed[changed.count - 100] ^= 1
        try writeBytes(changed, to: chain.folder("stale/bases.arrow"))
        func plan(_ jobs: String) throws -> Executable.Result {
            try Executable("crux-plan").run(
                [
                    "--quiet", "--input", chain.folder("joined"), "--scores", chain.folder("scored"), "--jobs", jobs,
                    "--output", chain.folder("again"),
                ]
                    + chain.settings)
        }
        let mixed = try plan(chain.folder("stale"))
        #expect(mixed.status == 3 && mixed.errors.contains("bases.arrow"), "\(mixed.errors)")
        // Jobs of another plan, whole in themselves.
        let other = try Executable("crux-plan").run(
            [
                "--quiet", "--input", chain.folder("ingest"), "--scores", chain.folder("score"), "--output",
                chain.folder("second"), "--tokenizer",
                fixture("policy"), "--seed", "5",
            ] + chain.settings)
        #expect(other.status == 0, "\(other.errors)")
        let strange = try plan(chain.folder("second/jobs"))
        #expect(
            strange.status == 3 && strange.errors.contains("crux-ingest --input RESULTS --jobs"), "\(strange.errors)")
        // Lines that the table beside them doesn't have.
        try FileManager.default.removeItem(atPath: chain.folder("stale/bases.arrow"))
        try writeBytes(bases, to: chain.folder("stale/bases.arrow"))
        try FileManager.default.removeItem(atPath: chain.folder("stale/jobs-00000.jsonl"))
        try FileManager.default.copyItem(
            atPath: chain.folder("second/jobs/jobs-00000.jsonl"), toPath: chain.folder("stale/jobs-00000.jsonl"))
        let lines = try Executable("crux-rollout").run(
            [
                "--quiet", "--checkpoint", fixture("policy"), "--jobs", chain.folder("stale"), "--output",
                chain.folder("r"),
            ])
        #expect(lines.status == 3 && lines.errors.contains("jobs.arrow beside it"), "\(lines.errors)")
    }

    @Test func anUpdateIsResumedOnItsOwnCheckpoint() throws {
        let run = try Pipeline()
        try run.ingest()
        try run.score()
        try run.plan(fixture("recipes/dapo-top20.yaml"))
        try run.update()
        try FileManager.default.copyItem(atPath: fixture("policy"), toPath: run.folder("other"))
        var weights = try readBytes(run.folder("other/model.safetensors"))
        weights[weights.count - 1] ^= 1
        try writeBytes(weights, to: run.folder("other/model.safetensors"))
        let strange = try run.runUpdate(
            to: "next", checkpoint: run.folder("other"), ["--resume-from", run.folder("update")])
        #expect(
            strange.status == 3 && strange.errors.contains("neither made from nor has written"), "\(strange.errors)")
        for (index, checkpoint) in [fixture("policy"), try run.lastStep("update")].enumerated() {
            let resumed = try run.runUpdate(
                to: "next-\(index)", checkpoint: checkpoint, ["--resume-from", run.folder("update")])
            #expect(resumed.status == 0, "\(resumed.errors)")
        }
    }
}
