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

    @Option(help: "Reward: \(RewardRegistry.names.joined(separator: ", ")).")
    var reward = AutomaticReward.name

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

    @OptionGroup var options: StageOptions

    private var paths: ModelPaths {
        ModelPaths(
            checkpoint: checkpoint, reference: reference, critic: critic, processReward: processReward, processReference: processReference, qNetwork: qNetwork)
    }

    func validate() throws {
        guard RewardRegistry.named(reward) != nil else {
            throw ValidationError("--reward is '\(reward)'; known: \(RewardRegistry.names.joined(separator: ", ")).")
        }
        if qNetwork != nil, checkpoint == nil || reference == nil {
            throw ValidationError("--q-network needs --checkpoint and --reference: what it says is averaged over the policy's distribution.")
        }
    }

    func runStage(_ context: StageContext) throws -> StageSummary {
        let ingest = try Manifest.finished(input, stage: "ingest")
        if options.dryRun { return StageSummary(["would_write": output, "rollouts": ingest.counts["rollouts"] ?? 0]) }
        let policies = try Policies(paths, threads: context.threads)
        if policies.hasFreshCritic { context.warn("\(critic ?? "") has no value head: its values are all 0, those of a critic that has learned nothing") }
        let plan = Manifest(stage: Self.stage, configuration: ["reward": reward], inputs: [try Manifest.asInput(input)] + (try policies.inputFiles()))
        switch try StageDirectory.open(output, for: plan, overwrite: options.overwrite) {
        case .done(let manifest):
            context.say("\(output) is finished already; nothing to do")
            return StageSummary(["output": output, "counts": manifest.counts, "already_done": true])
        case .work(let directory):
            guard let function = RewardRegistry.named(reward) else { throw StageError(.usage, "unknown reward '\(reward)'") }
            return try ScoreRun(
                directory: directory, ingest: input, names: ingest.outputs.map(\.path).filter { $0.hasPrefix("rollouts-") }, reward: function,
                policies: policies, context: context
            ).run()
        }
    }
}
