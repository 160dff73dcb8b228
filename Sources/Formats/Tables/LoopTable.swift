import Arrow

/// One iteration of the loop, from rollouts to a new checkpoint. Figures of the rollouts are those of the policy before
/// the iteration's update, held-out ones of the policy after it; iteration 0 is the policy that the loop started from.
package struct LoopRow: Codable, Equatable, Sendable {
    package var iteration: Int32 = 0
    package var prompts: Int64 = 0
    package var rollouts: Int64 = 0
    /// Everything that was sampled to learn from, continuations of jobs included.
    package var sampledTokens: Int64 = 0
    package var optimizerSteps: Int64 = 0
    package var trainAccuracy: Double?
    package var rewardMean: Double?
    package var entropy: Double?
    package var completionLength: Double?
    package var gradNorm: Double?
    /// Of an entropy bonus, which moves where it is adaptive.
    package var entropyCoef: Double?
    package var heldoutAccuracy: Double?
    package var heldoutEntropy: Double?
    package var heldoutLength: Double?
    /// At temperature 0, where that was asked for.
    package var heldoutGreedyAccuracy: Double?
    package init() {}
}

extension Tables {
    package static let loop = Table<LoopRow>(
        name: "loop",
        documentation: """
            One iteration of crux-loop. Figures of the rollouts are the policy's before the iteration's update, \
            held-out ones the policy's after it; iteration 0 is the policy the loop began with.
            """,
        columns: [
            .int32("iteration", \.iteration, "number of the iteration, from 0"),
            .int64("prompts", \.prompts, "prompts that were sampled"),
            .int64("rollouts", \.rollouts, "rollouts that were sampled"),
            .int64("sampled_tokens", \.sampledTokens, "tokens sampled to learn from, continuations of jobs included"),
            .int64("optimizer_steps", \.optimizerSteps, "steps of the optimizer"),
            .float64(
                "train_accuracy", \.trainAccuracy, "share of rollouts, 0 to 1, that are right; null in iteration 0"),
            .float64("reward_mean", \.rewardMean, "mean reward of the rollouts; null in iteration 0"),
            .float64("entropy", \.entropy, "nats: mean entropy of the rollouts' tokens; null in iteration 0"),
            .float64(
                "completion_length", \.completionLength, "tokens: mean length of the responses; null in iteration 0"),
            .float64(
                "grad_norm", \.gradNorm,
                "2-norm of the last step's gradients before clipping; null where no step was made"),
            .float64(
                "entropy_coef", \.entropyCoef,
                "coefficient of the entropy bonus as the last step leaves it; null without a bonus or a step"),
            .float64(
                "heldout_accuracy", \.heldoutAccuracy,
                "share of held-out responses, 0 to 1, that are right; null where none were sampled"),
            .float64(
                "heldout_entropy", \.heldoutEntropy,
                "nats: mean entropy of held-out responses' tokens; null where none were sampled"),
            .float64(
                "heldout_length", \.heldoutLength,
                "tokens: mean length of held-out responses; null where none were sampled"),
            .float64(
                "heldout_greedy_accuracy", \.heldoutGreedyAccuracy,
                "share of held-out responses at temperature 0, 0 to 1, that are right; null unless asked for"),
        ],
        make: { LoopRow() }, weight: { _ in 16 }, writer: "crux-loop")
}
