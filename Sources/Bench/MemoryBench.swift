import Arrow
import Formats
import Foundation

/// crux-update as a whole process on GRPO steps with the Top-20 % mask: what it foresees, what it takes, and how long a
/// step lasts.
struct MemoryBench {
    private let folder = FileManager.default.temporaryDirectory.path + "/crux-memory-\(getpid())"

    private static let recipe = """
        name: bench
        advantage: grpo
        entropy: {mask: {top: 0.2, scope: step, normalizer: kept}}
        objective: {type: ppo_clip, clip_low: 0.2, clip_high: 0.28}

        """
    /// The second step has the optimizer's moments beside its passes.
    private static let twoSteps = "schedule: {epochs: 2}\n"

    /// Two steps under different budgets, on six layers.
    func runBudgets() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        say("memory, Qwen2.5-0.5B shape with 6 layers, group of 8, prompt 256, completions 256, Top-20 %, two steps:")
        try plan(layers: 6, recipe: Self.recipe + Self.twoSteps)
        for budget in ["8G", "4.5G", "4G"] { try update(budget: budget) }
    }

    /// All 24 layers.
    func runRealSize() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        say(
            "real size, Qwen2.5-0.5B shape, 24 layers, bf16, one step of a group of 8, prompt 256, completions 256, Top-20 %:"
        )
        try plan(layers: 24, recipe: Self.recipe)
        try update(budget: "24G")
    }

    /// A sequence as long as the model allows: what it takes grows with its length, not with the square. What all layers
    /// take is foreseen and then run; two layers go first, in a tenth of the time.
    func runLong() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        say(
            "long, Qwen2.5-0.5B shape, bf16, one step of two sequences behind a prompt of 256: completions of \(Self.longCompletion) and 64, every token weighted:"
        )
        for layers in [2, 24] {
            try SyntheticCheckpoint(.small(layers: layers), dtype: .bf16).write(to: folder + "/policy")
            try writeDump(completions: [Self.longCompletion, 64])
            try plan(recipe: "name: bench\nadvantage: grpo\nobjective: {type: ppo_clip}\n", checkpoint: nil)
            let dry = try ChildProcess("crux-update", updateArguments("24G") + ["--dry-run"])
            let foreseen = (dry.summary["memory"] as? [String: Int])?["foreseen_bytes"] ?? 0
            say("  \(layers) layers: foreseen \(gibibytes(foreseen))")
            try update(budget: "24G")
            for made in ["ingest", "score", "plan"] { try FileManager.default.removeItem(atPath: folder + "/" + made) }
        }
    }

    /// With the prompt as many tokens as Qwen2.5 takes.
    private static let longCompletion = 32_768 - 256

    /// From a dump to a plan; entropies are the checkpoint's own.
    private func plan(layers: Int, recipe: String) throws {
        try SyntheticCheckpoint(.small(layers: layers), dtype: .bf16).write(to: folder + "/policy")
        try writeDump(completions: [Int](repeating: 256, count: 8))
        try plan(recipe: recipe, checkpoint: folder + "/policy")
    }

    private func plan(recipe: String, checkpoint: String?) throws {
        try recipe.write(toFile: folder + "/recipe.yaml", atomically: true, encoding: .utf8)
        _ = try ChildProcess("crux-ingest", ["--input", folder + "/dump", "--output", folder + "/ingest"])
        let score = try ChildProcess(
            "crux-score",
            [
                "--input", folder + "/ingest", "--output", folder + "/score", "--reward", "given",
            ] + (checkpoint.map { ["--checkpoint", $0] } ?? []))
        if checkpoint != nil {
            say("  crux-score --checkpoint: \(text(score.seconds)) s, peak memory \(gibibytes(score.peakBytes))")
        }
        _ = try ChildProcess(
            "crux-plan",
            [
                "--input", folder + "/ingest", "--scores", folder + "/score", "--recipe", folder + "/recipe.yaml",
                "--output", folder + "/plan",
            ])
    }

    /// One group, half of it right.
    private func writeDump(completions: [Int]) throws {
        try FileManager.default.createDirectory(atPath: folder + "/dump", withIntermediateDirectories: true)
        let writer = try RolloutShardWriter(path: folder + "/dump/rollouts-00000.rollouts.zst"),
            prompt = Piece(seed: 0, count: 256).tokens
        for (index, length) in completions.enumerated() {
            var frame = RolloutFrame()
            frame.metadata = [
                "rollout_id": "r\(index)", "group_id": "g", "sample_index": "\(index)", "reward": "\(index % 2)",
            ]
            frame.tokenIDs = prompt + Piece(seed: 100 + index, count: length).tokens
            frame.lossMask = frame.tokenIDs.indices.map { $0 >= prompt.count }
            // About what random weights give every token.
            frame.rolloutLogprobs = frame.lossMask.map { $0 ? -12 : 0 }
            try writer.append(frame, logits: [])
        }
        try writer.finish()
    }

    private var output: String { folder + "/update" }

    private func updateArguments(_ budget: String) -> [String] {
        ["--plan", folder + "/plan", "--checkpoint", folder + "/policy", "--output", output, "--memory", budget]
    }

    private func update(budget: String) throws {
        let process = try ChildProcess("crux-update", updateArguments(budget))
        let memory = process.summary["memory"] as? [String: Int] ?? [:], foreseen = memory["foreseen_bytes"] ?? 0
        let step =
            try ArrowTableReader(path: output + "/metrics.arrow", table: Tables.metrics).rows().last ?? MetricsRow()
        let taken =
            "foreseen \(gibibytes(foreseen)), peak \(gibibytes(process.peakBytes)) (\(percent(process.peakBytes, foreseen)) of it, "
            + "\(percent(process.peakBytes, memory["budget_bytes"] ?? 0)) of the budget)"
        let thousand = 1000 * step.seconds / Double(max(1, step.trainableTokens))
        say(
            "  --memory \(budget): \(taken); a step \(text(step.seconds)) s, \(text(thousand)) s per thousand completion tokens; "
                + "with loading and saving \(text(process.seconds)) s")
        try FileManager.default.removeItem(atPath: output)
    }
}
