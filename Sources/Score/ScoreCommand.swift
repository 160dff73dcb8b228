import ArgumentParser
import Formats
import Foundation
import Models
import Rewards
import StageSupport

@main
enum ScoreMain {
    static func main() { ScoreCommand.runMain() }
}

/// `ingest/` → `score/`: each token's entropy and log-probability, each rollout's reward; same rows, same order.
struct ScoreCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "crux-score", abstract: "Scores each token's entropy and each rollout's reward.", version: cruxVersion)
    static let stage = "score"

    @Option(help: "Directory of crux-ingest.")
    var input: String

    @Option(help: "Directory to make.")
    var output: String

    @Option(help: "Reward: \(RewardRegistry.names.joined(separator: ", ")) (default: \(AutomaticReward.name)).")
    var reward: String?

    @Option(help: "Program that judges in JSON lines, as a shell command. With --reward it gets the rows which that leaves undecided, else all.")
    var rewardCommand: String?

    @Option(help: "Processes of the reward command (default: --threads).")
    var rewardWorkers: Int?

    @Option(help: "Seconds that one answer may take.")
    var rewardTimeout = 30.0

    @Option(help: "What a row is worth whose judge hung, died or failed: null, zero, or fail to end the run.")
    var onRewardFailure = RewardFailure.null

    @Option(help: "Checkpoint of the policy: recomputes old_logprobs, and entropy where the dump has no logits.")
    var checkpoint: String?

    @Option(help: "Checkpoint of the frozen reference: fills reference_logprobs.")
    var reference: String?

    @Option(help: "Critic (or a language model to become one): fills values.")
    var critic: String?

    @Option(help: "Implicit reward model: fills process_logprobs.")
    var processReward: String?

    @Option(help: "Frozen model that the implicit reward model is measured against: fills process_reference_logprobs.")
    var processReference: String?

    @Option(help: "Target Q network; with --checkpoint and --reference it fills expected_q.")
    var qNetwork: String?

    @Option(help: "Also write the K most likely tokens of each position and their log-probabilities, where the dump has logits.")
    var topK = 0

    @Flag(help: "Also write the sum of squared probabilities of each position, where the dump has logits.")
    var sumPSquared = false

    @OptionGroup var memory: MemoryOption

    @OptionGroup var options: StageOptions

    private var paths: ModelPaths {
        ModelPaths(
            checkpoint: checkpoint, reference: reference, critic: critic, processReward: processReward, processReference: processReference, qNetwork: qNetwork)
    }

    func validate() throws {
        if let reward, RewardRegistry.named(reward) == nil {
            throw ValidationError("--reward is '\(reward)'; known: \(RewardRegistry.names.joined(separator: ", ")).")
        }
        if let rewardWorkers, rewardWorkers < 1 { throw ValidationError("--reward-workers is \(rewardWorkers); it must be at least 1.") }
        guard rewardTimeout > 0 else { throw ValidationError("--reward-timeout is \(rewardTimeout); it must be above 0.") }
        guard (0...RolloutFrameReader.maximumTopK).contains(topK) else {
            throw ValidationError("--top-k is \(topK); it must be 0 (none) to \(RolloutFrameReader.maximumTopK).")
        }
        if qNetwork != nil, checkpoint == nil || reference == nil {
            throw ValidationError("--q-network needs --checkpoint and --reference: what it says is averaged over the policy's distribution.")
        }
    }

    func runStage(_ context: StageContext) throws -> StageSummary {
        let ingest = try Manifest.finished(input, stage: "ingest")
        if options.dryRun { return StageSummary(["would_write": output, "rollouts": ingest.counts["rollouts"] ?? 0]) }
        let policies = try Policies(paths, threads: context.threads)
        policies.notes.forEach(context.warn)
        if policies.hasFreshCritic { context.warn("\(critic ?? "") has no value head: its values are all 0, those of a critic that has learned nothing") }
        let plan = Manifest(stage: Self.stage, configuration: settings, inputs: [try Manifest.asInput(input)] + (try policies.inputFiles()))
        switch try StageDirectory.open(output, for: plan, overwrite: options.overwrite) {
        case .done(let manifest):
            context.say("\(output) is finished already; nothing to do")
            return StageSummary(["output": output, "counts": manifest.counts, "already_done": true])
        case .work(let directory):
            let judge = try Judge(self, log: directory.workPath + "/reward-command-\(options.share.rank).log", context)
            defer { judge.close() }
            return try ScoreRun(
                directory: directory, ingest: input, manifest: ingest, names: ingest.outputs.map(\.path).filter { $0.hasPrefix("rollouts-") }, judge: judge,
                policies: policies, wanted: DistributionColumns(topK: topK, sumPSquared: sumPSquared),
                memory: PlaneMemory(budget: memory.bytes, threads: context.threads), context: context
            ).run()
        }
    }

    private var settings: [String: String] {
        var settings = ["reward": reward ?? (rewardCommand == nil ? AutomaticReward.name : "")]
        settings["reward_command"] = rewardCommand
        if rewardCommand != nil { settings["on_reward_failure"] = onRewardFailure.rawValue }
        if topK > 0 { settings["top_k"] = "\(topK)" }
        if sumPSquared { settings["sum_p_squared"] = "true" }
        return settings
    }
}
