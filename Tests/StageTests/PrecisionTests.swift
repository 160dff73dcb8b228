import Arrow
import Formats
import Foundation
import StageSupport
import Tensors
import TestSupport
import Testing

/// --precision, through the commands that run a model: with 16-bit products where there are some, refused elsewhere.
@Suite(.serialized) struct PrecisionTests {
    private static let isAvailable = Precision.bf16.isAvailable

    private func planned() throws -> Pipeline {
        let run = try Pipeline()
        try run.ingest()
        try run.score()
        try run.plan(fixture("recipes/dapo-top20.yaml"), to: "plan")
        return run
    }

    private func rollout(_ run: Pipeline, to name: String, _ more: [String]) throws -> Executable.Result {
        try Executable("crux-rollout").run(
            [
                "--checkpoint", fixture("policy"), "--prompts", fixture("prompts-heldout.jsonl"), "--output",
                run.folder(name), "--group-size", "1", "--max-tokens", "8", "--seed", "5",
            ] + more)
    }

    @Test(.enabled(if: !isAvailable)) func theFlagIsRefusedAsUsage() throws {
        let run = try planned()
        let refused = [
            try run.runUpdate(to: "half", ["--precision", "bf16"]),
            try Executable("crux-score").run([
                "--input", run.folder("ingest"), "--output", run.folder("half-score"), "--checkpoint",
                fixture("policy"), "--precision", "bf16",
            ]),
        ]
        for result in refused {
            #expect(result.status == 2)
            #expect(result.errors.contains("--precision bf16: found"), "\(result.errors)")
        }
        try run.update(to: "whole", ["--precision", "f32"])
    }

    @Test(.enabled(if: isAvailable)) func anUpdateIsNearAndItsManifestSaysHow() throws {
        let run = try planned()
        try run.update(to: "half", ["--precision", "bf16"])
        #expect(try Manifest.finished(run.folder("half"), stage: "update").configuration["precision"] == "bf16")
        try run.update(to: "whole")
        #expect(try Manifest.finished(run.folder("whole"), stage: "update").configuration["precision"] == nil)
        let norms = try ["half", "whole"].map {
            try ArrowTableReader(path: run.folder($0) + "/metrics.arrow", table: Tables.metrics).rows()[0].gradNorm
        }
        #expect(norms[0] != norms[1] && abs(norms[0] / norms[1] - 1) < 1e-2)
        // Said or not, float32 is what it was.
        try run.update(to: "named", ["--precision", "f32"])
        #expect(try contents(of: run.lastStep("named")) == contents(of: run.lastStep("whole")))
        #expect(try run.runUpdate(to: "half").status == 5)
        #expect(try run.runUpdate(to: "whole", ["--precision", "bf16"]).status == 5)
        // The same bytes for any number of threads, which float32 doesn't promise.
        let single = try Executable("crux-update").run([
            "--plan", run.folder("plan"), "--checkpoint", fixture("policy"), "--output", run.folder("more"),
            "--precision", "bf16", "--threads", "1",
        ])
        #expect(single.status == 0, "\(single.errors)")
        #expect(try contents(of: run.lastStep("more")) == contents(of: run.lastStep("half")))
    }

    @Test(.enabled(if: isAvailable)) func memoryStaysWithinWhatWasForeseen() throws {
        let run = try planned(), result = try run.runUpdate(to: "half", ["--precision", "bf16"])
        let memory = try #require(result.summary["memory"] as? [String: Int])
        #expect(try #require(memory["peak_bytes"]) <= #require(memory["foreseen_bytes"]))
    }

    @Test(.enabled(if: isAvailable)) func scoresSayHow() throws {
        let run = try planned(), model = ["--checkpoint", fixture("policy")]
        try run.score(model, to: "whole")
        try run.score(model + ["--precision", "bf16"], to: "half")
        let logprobs = try ["whole", "half"].map { name in
            try FileManager.default.contentsOfDirectory(atPath: run.folder(name)).filter { $0.hasSuffix(".arrow") }
                .sorted().flatMap {
                    try ArrowTableReader(path: run.folder(name) + "/" + $0, table: Tables.scores).rows().flatMap {
                        $0.oldLogprobs ?? []
                    }
                }
        }
        let distance = zip(logprobs[0], logprobs[1]).reduce(0.0) { $0 + Double(abs($1.0 - $1.1)) }
        let error = distance / Double(logprobs[0].count)
        #expect(error > 0 && error < 2e-2, "off by \(error) on average")
        #expect(try Manifest.finished(run.folder("half"), stage: "score").configuration["precision"] == "bf16")
    }

    /// fixtures/policy is in bf16.
    @Test func rolloutsFrom16BitWeightsAreThoseOfA16BitCheckpoint() throws {
        let run = try Pipeline()
        #expect(try rollout(run, to: "half", ["--precision", "bf16-weights"]).status == 0)
        #expect(try rollout(run, to: "whole", []).status == 0)
        let half = try Manifest.finished(run.folder("half"), stage: "rollout"),
            whole = try Manifest.finished(run.folder("whole"), stage: "rollout")
        #expect(half.configuration["precision"] == "bf16-weights" && whole.configuration["precision"] == nil)
        #expect(half.outputs.map(\.sha256) == whole.outputs.map(\.sha256))
        #expect(try rollout(run, to: "half", []).status == 5)
    }

    /// Not float32's, and the same however many are computed at a time.
    @Test(arguments: ["bf16", "bf16-amx"]) func rolloutsOf16BitProductsDoNotDependOnTheBatch(_ precision: String) throws
    {
        let run = try Pipeline()
        for batch in ["1", "5", "32"] {
            #expect(try rollout(run, to: batch, ["--precision", precision, "--batch", batch]).status == 0)
        }
        #expect(try rollout(run, to: "whole", []).status == 0)
        let digests = try ["1", "5", "32", "whole"].map {
            try Manifest.finished(run.folder($0), stage: "rollout").outputs.map(\.sha256)
        }
        #expect(digests[0] == digests[1] && digests[0] == digests[2] && digests[0] != digests[3])
    }

    @Test func scoreWithoutAModelHasNothingToBePreciseAbout() throws {
        let result = try Executable("crux-score").run([
            "--input", "nowhere", "--output", "nowhere-else", "--precision", "bf16",
        ])
        #expect(result.status == 2 && result.errors.contains("none was given"))
    }
}
