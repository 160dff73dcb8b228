import Arrow
import Formats
import Foundation
import StageSupport
import TestSupport
import Testing

@Suite struct LoopTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    private func arguments(_ output: String, recipe: String, iterations: Int, _ more: [String] = []) throws -> [String]
    {
        let heldout =
            try String(contentsOfFile: fixture("prompts-heldout.jsonl"), encoding: .utf8).split(separator: "\n").prefix(
                16
            ).joined(separator: "\n") + "\n"
        try heldout.write(toFile: folder("heldout.jsonl"), atomically: true, encoding: .utf8)
        return [
            "--quiet", "--recipe", repositoryRoot + "/recipes/\(recipe).yaml", "--checkpoint", fixture("policy"),
            "--prompts", fixture("prompts-train.jsonl"),
            "--heldout", folder("heldout.jsonl"), "--output", folder(output), "--iterations", "\(iterations)",
            "--prompts-per-iteration", "6", "--group-size", "4",
            "--max-tokens", "60", "--batch", "64", "--eval-every", "2", "--threads", "1", "--set", "optimizer.lr=1e-4",
        ] + more
    }

    private func run(_ arguments: [String]) throws -> Executable.Result {
        let result = try Executable("crux-loop").run(arguments)
        #expect(result.status == 0, "\(result.errors)")
        return result
    }

    /// Every file but the one that holds wall-clock seconds.
    private func files(_ output: String) throws -> [String: Data] {
        try contents(of: folder(output)).filter { file in
            !(file.key.contains("update/") && file.key.hasSuffix("metrics.arrow"))
        }
    }

    private func rows(_ output: String) throws -> [LoopRow] {
        try ArrowTableReader(path: folder(output + "/metrics.arrow"), table: Tables.loop).rows()
    }

    @Test func everyIterationLearnsFromTheOneBefore() throws {
        let result = try run(try arguments("loop", recipe: "grpo", iterations: 3))
        let rows = try rows("loop")
        #expect(rows.map(\.iteration) == [0, 1, 2, 3])
        #expect(rows.map { $0.heldoutAccuracy != nil } == [true, false, true, true])
        #expect(
            rows.dropFirst().allSatisfy {
                $0.prompts == 6 && $0.rollouts == 24 && $0.sampledTokens > 24 && $0.rewardMean != nil
                    && $0.entropy != nil
            })
        // The optimizer's steps count on, and each iteration samples from the checkpoint before it.
        #expect((result.summary["checkpoint"] as? String)?.hasSuffix("iteration-0003/update/step-000003") == true)
        let prompts = try (1...3).map {
            try String(contentsOfFile: folder("loop/iteration-000\($0)/prompts.jsonl"), encoding: .utf8)
        }
        let training = try String(contentsOfFile: fixture("prompts-train.jsonl"), encoding: .utf8)
        #expect(training.hasPrefix(prompts.joined()))
        let versions = try (1...3).map {
            try ArrowTableReader(
                path: folder("loop/iteration-000\($0)/ingest/rollouts-00000.arrow"), table: Tables.rollouts
            ).rows()[0].policyVersion
        }
        #expect(versions == ["0", "1", "2"])
        #expect(
            FileManager.default.fileExists(atPath: folder("loop/curves.svg"))
                && FileManager.default.fileExists(atPath: folder("loop/metrics.csv")))
    }

    /// The next update starts with the masters, not with what was sampled from: its first ratios are 1.
    @Test func scoresAreThoseOfThePolicyThatIsUpdated() throws {
        for (name, more) in [("stored", [String]()), ("float32", ["--weights", "f32"])] {
            _ = try run(try arguments(name, recipe: "grpo", iterations: 3, more + ["--set", "optimizer.lr=3e-4"]))
            let second = try ArrowTableReader(
                path: folder(name + "/iteration-0003/update/metrics.arrow"), table: Tables.metrics
            ).rows()[0]
            // One step an iteration: the ratios of its tokens are those before it. Two float32 passes.
            #expect(abs(second.importanceRatioMax - 1) < 1e-4, "\(name): \(second.importanceRatioMax)")
            let policy = try String(
                contentsOfFile: folder(name + "/iteration-0003/score/manifest.json"), encoding: .utf8)
            #expect(policy.contains("optimizer.safetensors") == (name == "stored"))
        }
        let files = try SafetensorsFile(path: folder("float32/iteration-0003/update/step-000003/model.safetensors"))
        #expect(files.header.tensors.allSatisfy { $0.dtype == .f32 })
    }

    @Test(arguments: [[], ["--prune"]]) func aLoopGoesOnWhereThereIsNothingToLearnFrom(_ more: [String]) throws {
        let nothing = ["--set", "filter.min_accuracy=1", "--set", "filter.degenerate_groups=drop"]
        let result = try Executable("crux-loop").run(
            try arguments("idle", recipe: "grpo", iterations: 2, nothing + more).filter { $0 != "--quiet" })
        #expect(
            result.status == 0
                && result.errors.contains("iteration 2 goes on without an update: nothing to learn from"),
            "\(result.errors)")
        #expect(result.summary["checkpoint"] as? String == fixture("policy"))
        #expect(try rows("idle").dropFirst().allSatisfy { $0.optimizerSteps == 0 && $0.rollouts == 24 })
    }

    /// Several rollouts of each held-out prompt, and greedily too.
    @Test func heldOutAccuracyIsMeasuredAsAskedFor() throws {
        let more = ["--heldout-samples", "3", "--heldout-greedy"]
        let result = try run(try arguments("loop", recipe: "grpo", iterations: 1, more)), rows = try rows("loop")
        for (iteration, row) in rows.enumerated() {
            let sampled = try counts("loop/iteration-000\(iteration)/heldout-score")
            let greedy = try counts("loop/iteration-000\(iteration)/heldout-greedy-score")
            #expect(sampled["judged"] == 48 && greedy["judged"] == 16)
            #expect(row.heldoutAccuracy == Double(sampled["correct"] ?? -1) / 48)
            #expect(row.heldoutGreedyAccuracy == Double(greedy["correct"] ?? -1) / 16)
        }
        let measures = result.summary["measures"] as? [String: Double]
        #expect(measures?["heldout_greedy_accuracy_before"] == rows[0].heldoutGreedyAccuracy)
        #expect(measures?["heldout_greedy_accuracy_after"] == rows[1].heldoutGreedyAccuracy)
        // Greedily every rollout of a prompt is the same: what was sampled is not.
        #expect(rows[0].heldoutGreedyAccuracy != rows[0].heldoutAccuracy)
        let none = try arguments("none", recipe: "grpo", iterations: 1, ["--heldout-samples", "0"])
        #expect(try Executable("crux-loop").run(none).status == 2)
    }

    private func counts(_ directory: String) throws -> [String: Int] {
        let path = folder(directory + "/manifest.json")
        let manifest = try JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: path)))
        return (manifest as? [String: Any])?["counts"] as? [String: Int] ?? [:]
    }

    @Test func updatesStayWithinTheMemoryGiven() throws {
        let result = try Executable("crux-loop").run(
            try arguments("loop", recipe: "grpo", iterations: 1, ["--memory", "1M"]))
        #expect(result.status != 0 && result.errors.contains("--memory: found a budget of 1 MiB"), "\(result.errors)")
    }

    /// Over two iterations, of which the second goes on from the first one's moments.
    @Test func updatesPutTheirMomentsOnADiskWhereTheyAreAskedTo() throws {
        let disk = try TemporaryDirectory()
        _ = try run(try arguments("plain", recipe: "grpo", iterations: 2))
        _ = try run(try arguments("offloaded", recipe: "grpo", iterations: 2, ["--offload", disk.path]))
        let weights = "/iteration-0002/update/step-000002/model.safetensors"
        #expect(
            try Data(contentsOf: URL(fileURLWithPath: folder("plain" + weights)))
                == Data(contentsOf: URL(fileURLWithPath: folder("offloaded" + weights))))
        let record = try String(contentsOfFile: folder("offloaded/iteration-0002/update/run.json"), encoding: .utf8)
        #expect(record.contains("--offload"))
        let missing = try Executable("crux-loop").run(
            try arguments("missing", recipe: "grpo", iterations: 1, ["--offload", disk("nothing")]))
        #expect(missing.status != 0 && missing.errors.contains("nothing"), "\(missing.errors)")
    }

    /// Of all stages, rollouts alone, training's and held-out ones.
    @Test func rolloutsHaveAPrecisionOfTheirOwn() throws {
        _ = try run(try arguments("loop", recipe: "grpo", iterations: 1, ["--rollout-precision", "bf16-weights"]))
        let iteration = folder("loop/iteration-0001/")
        for (name, stage, precision) in [
            ("rollout", "rollout", "bf16-weights"), ("heldout-rollout", "rollout", "bf16-weights"),
            ("score", "score", nil), ("update", "update", nil),
        ] {
            let manifest = try Manifest.finished(iteration + name, stage: stage)
            #expect(manifest.configuration["precision"] == precision, "\(name)")
        }
        let other = try Executable("crux-loop").run(try arguments("loop", recipe: "grpo", iterations: 1))
        #expect(other.status == 5, "\(other.errors)")
    }

    @Test func aFinishedLoopCanBeGivenMoreIterations() throws {
        _ = try run(try arguments("short", recipe: "grpo", iterations: 2))
        #expect(try run(try arguments("short", recipe: "grpo", iterations: 2)).summary["already_done"] as? Bool == true)
        _ = try run(try arguments("short", recipe: "grpo", iterations: 4))
        let prolonged = try files("short")
        #expect(try Executable("crux-loop").run(try arguments("short", recipe: "dapo", iterations: 4)).status == 5)
        // In another place: no byte depends on where it lies.
        _ = try run(try arguments("elsewhere/whole", recipe: "grpo", iterations: 4))
        // Iteration 2 was the short loop's last and so was measured there too, as it is here.
        #expect(try files("elsewhere/whole") == prolonged)
    }

    @Test func adaptersLearnThroughALoop() throws {
        let adapters = "trainable={type: lora, rank: 2, merged: true}"
        let result = try run(try arguments("loop", recipe: "grpo", iterations: 2, ["--set", adapters]))
        let manifest = try String(contentsOfFile: folder("loop/manifest.json"), encoding: .utf8)
        #expect(
            (result.summary["checkpoint"] as? String)?.hasSuffix("iteration-0002/update/step-000002/merged") == true)
        #expect(manifest.contains("\"iteration-0002/update/step-000002/merged/model.safetensors\""))
    }

    @Test(arguments: ["dapo-top20", "fr3e"]) func aKilledLoopEndsWithTheSameBytes(_ recipe: String) throws {
        let more = recipe == "fr3e" ? ["--set", "expansion.anchors=1", "--set", "expansion.replicates=2"] : []
        let command = try arguments("loop", recipe: recipe, iterations: 2, more)
        _ = try run(command)
        let whole = try files("loop")
        try FileManager.default.removeItem(atPath: folder("loop"))
        var kills = 0
        for delay in [150, 300, 450, 600] {
            let process = try Executable("crux-loop").start(command)
            usleep(useconds_t(delay * 1000))
            kills += process.isRunning ? 1 : 0
            process.signal(SIGKILL)
            _ = process.wait()
        }
        _ = try run(command)
        let again = try files("loop")
        #expect(kills > 0 && Set(again.keys) == Set(whole.keys), "\(Set(again.keys).symmetricDifference(whole.keys))")
        let others = whole.keys.filter { again[$0] != whole[$0] }.sorted()
        #expect(others.isEmpty, "\(others)")
    }

    @Test(arguments: [
        ("ppo", "ppo-critic", "critic"), ("prime", "prime-reward-model", "process-reward"),
        ("etpo", "etpo-q", "q-network"),
    ])
    func companionsLearnBesideThePolicy(_ recipe: String, _ companion: String, _ folderName: String) throws {
        let more = ["--companion", repository("recipes/\(companion).yaml"), "--companion-set", "optimizer.lr=1e-3"]
        let filter =
            recipe == "prime" ? ["--set", "filter.min_accuracy=null", "--set", "filter.max_accuracy=null"] : []
        _ = try run(try arguments("loop", recipe: recipe, iterations: 2, more + filter))
        // The second update goes on from the first, and the second scoring saw what the first had made.
        let metrics = try (1...2).map {
            try ArrowTableReader(
                path: folder("loop/iteration-000\($0)/\(folderName)/metrics.arrow"), table: Tables.metrics
            ).rows()
        }
        #expect(metrics.map { $0.map(\.step) } == [[1], [2]] && metrics.joined().allSatisfy { $0.gradNorm > 0 })
        let scores = try (1...2).map {
            try ArrowTableReader(path: folder("loop/iteration-000\($0)/score/scores-00000.arrow"), table: Tables.scores)
                .rows()
        }
        if recipe == "ppo" {
            #expect(
                scores[0].allSatisfy { $0.values?.allSatisfy { $0 == 0 } == true }
                    && scores[1].contains { $0.values?.contains { $0 != 0 } == true })
        }
        if recipe == "prime" {
            #expect(
                scores[0].allSatisfy { $0.processLogprobs == $0.processReferenceLogprobs }
                    && scores[1].contains { $0.processLogprobs != $0.processReferenceLogprobs })
        }
        if recipe == "etpo" {
            #expect(
                FileManager.default.fileExists(atPath: folder("loop/iteration-0002/q-network/target/model.safetensors"))
            )
        }
        // Whoever forgets it is told before any work.
        let alone = try Executable("crux-loop").run(try arguments("alone", recipe: recipe, iterations: 1))
        #expect(alone.status == 2 && alone.errors.contains("--companion recipes/\(companion).yaml"), "\(alone.errors)")
    }

    @Test func aTokenBudgetSetsTheNumberOfPrompts() throws {
        _ = try run(try arguments("budget", recipe: "grpo", iterations: 4, ["--tokens", "1600"]))
        let rows = try rows("budget")
        #expect(rows[1].prompts == 6)
        for row in rows.dropFirst(2) {
            #expect(abs(Double(row.sampledTokens) / 1600 - 1) < 0.3, "\(row.sampledTokens)")
        }
    }

    @Test func aFailingStageSpeaksForItself() throws {
        let result = try Executable("crux-loop").run(
            try arguments("bad", recipe: "grpo", iterations: 1, ["--set", "optimizer.lr=-1"]))
        #expect(result.status == 3 && result.errors.contains("optimizer.lr is -1"))
        let vine = try Executable("crux-loop").run(
            try arguments("bad2", recipe: "grpo", iterations: 1, ["--reward", "nonsense"]))
        #expect(
            vine.status == 2 && vine.errors.contains("crux-score") && vine.errors.contains("nonsense"), "\(vine.errors)"
        )
        let report = try Executable("crux-report").run(["--loops", "a=\(folder("bad"))", "--output", folder("table")])
        #expect(report.status == 3 && report.errors.contains("crux-loop"))
    }

    @Test func reportPutsLoopsSideBySide() throws {
        for seed in ["1", "2"] {
            _ = try run(try arguments("s\(seed)", recipe: "grpo", iterations: 1, ["--seed", seed]))
        }
        let result = try Executable("crux-report").run([
            "--loops", "grpo=\(folder("s1"))", "grpo=\(folder("s2"))", "--output", folder("table"), "--title",
            "two seeds",
        ])
        #expect(result.status == 0, "\(result.errors)")
        let table = try String(contentsOfFile: folder("table.md"), encoding: .utf8)
        #expect(table.split(separator: "\n").count == 3 && table.contains("| grpo | 2 |"))
        #expect(try String(contentsOfFile: folder("table.svg"), encoding: .utf8).contains("two seeds"))
    }
}
