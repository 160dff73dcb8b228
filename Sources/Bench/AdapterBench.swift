import Arrow
import Formats
import Foundation

/// Adapters on checkpoints in bf16 that are larger than what can be trained whole: crux-update as a whole process on one
/// GRPO step, what it foresees, what it takes, and how long the step lasts.
struct AdapterBench {
    let shape: QwenShape
    private let folder = FileManager.default.temporaryDirectory.path + "/crux-adapters-\(getpid())"

    /// By the names that crux-bench takes.
    static let shapes = ["adapters-1.5b": QwenShape.middle, "adapters-7b": QwenShape.large]

    private static let recipe = """
        name: bench
        advantage: grpo
        objective: {type: ppo_clip, clip_low: 0.2, clip_high: 0.28}
        trainable: {type: lora, rank: 16, alpha: 32, targets: [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]}

        """

    init(_ shape: QwenShape) { self.shape = shape }

    func run() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let batch = UpdateCase.group
        say("adapters of rank 16 on every linear layer, \(shape.name) shape, bf16, one step of \(batch.title):")
        try SyntheticCheckpoint(shape, dtype: .bf16).write(to: folder + "/policy")
        try batch.writePlan(to: folder + "/plan", recipe: Self.recipe)
        let process = try ChildProcess(
            "crux-update",
            ["--plan", folder + "/plan", "--checkpoint", folder + "/policy", "--output", folder + "/update"])
        let memory = process.summary["memory"] as? [String: Int] ?? [:], foreseen = memory["foreseen_bytes"] ?? 0
        let step =
            try ArrowTableReader(path: folder + "/update/metrics.arrow", table: Tables.metrics).rows().last
            ?? MetricsRow()
        say(
            "  foreseen \(gibibytes(foreseen)), peak \(gibibytes(process.peakBytes)) "
                + "(\(percent(process.peakBytes, foreseen)) of it), activations kept of at least \(memory["fewest_kept_layers"] ?? 0) layers; "
                + "the step \(text(step.seconds)) s, with loading and saving \(text(process.seconds)) s")
    }
}
