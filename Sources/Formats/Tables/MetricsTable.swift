import Arrow

/// One optimizer step.
package struct MetricsRow: Equatable, Sendable {
    package var step: Int32 = 0
    package var loss: Double = 0
    package var gradNorm: Double = 0
    package var clipFractionLow: Double = 0
    package var clipFractionHigh: Double = 0
    package var importanceRatioMax: Double = 0
    package var klK3: Double = 0
    package var entropy: Double = 0
    package var rewardMean: Double = 0
    package var trainableTokens: Int64 = 0
    /// Of these, those that the model was asked about.
    package var evaluatedTokens: Int64 = 0
    package var seconds: Double = 0
    /// What some methods add: see `Measure`.
    package var rewardMargin: Double?
    package var rewardAccuracy: Double?
    package var valueError: Double?
    package var targetDivergence: Double?
    /// Of an entropy bonus.
    package var entropyCoef: Double?
    package var entropyCoefApplied: Double?
    /// Rollouts that the objective left out (objective.drop_stale).
    package var staleRows: Int64?
    /// Of a mixture of experts.
    package var expertImbalance: Double?
    package var expertsIdle: Double?
    package var expertsReplayed: Double?
    package init() {}
}

extension Tables {
    package static let metrics = Table<MetricsRow>(
        name: "metrics",
        documentation: "One optimizer step of crux-update.",
        columns: [
            .int32("step", \.step, "number of the step, from 1; goes on where the update that it follows ended"),
            .float64("loss", \.loss, "the step's loss"),
            .float64("grad_norm", \.gradNorm, "2-norm of all gradients, before clipping"),
            .float64(
                "clip_fraction_low", \.clipFractionLow,
                "share of evaluated tokens, 0 to 1, that the objective cut off at its lower bound"),
            .float64(
                "clip_fraction_high", \.clipFractionHigh,
                "share of evaluated tokens, 0 to 1, that the objective cut off at its upper bound"),
            .float64(
                "importance_ratio_max", \.importanceRatioMax, "largest exp(logprob - old logprob); 0 without ratios"),
            .float64(
                "kl_k3", \.klK3,
                """
                nats: mean over evaluated tokens of the k3 estimate against the reference's log-probabilities, against \
                the old ones without a reference
                """),
            .float64("entropy", \.entropy, "nats: mean over evaluated tokens of the distribution's entropy now"),
            .float64("reward_mean", \.rewardMean, "mean reward of the step's rollouts"),
            .int64("trainable_tokens", \.trainableTokens, "tokens inside the loss mask"),
            .int64("evaluated_tokens", \.evaluatedTokens, "of these, those that the model was asked about"),
            .float64("seconds", \.seconds, "seconds the step took"),
            .float64(
                "reward_margin", \.rewardMargin,
                "mean h of preference pairs, which their loss is -log sigmoid of; null for other objectives"),
            .float64(
                "reward_accuracy", \.rewardAccuracy,
                "share of rollouts, 0 to 1, whose implicit reward has the outcome's sign; null for other objectives"),
            .float64(
                "value_error", \.valueError,
                "mean squared error of values or Q against their targets; null for other objectives"),
            .float64(
                "target_divergence", \.targetDivergence,
                "nats: mean KL to the target distribution; null for other objectives"),
            .float64(
                "entropy_coef", \.entropyCoef,
                "coefficient of the entropy bonus as the step leaves it; null without a bonus"),
            .float64(
                "entropy_coef_applied", \.entropyCoefApplied,
                "coefficient that the step applied, 0 where an adaptive bonus rests; null without a bonus"),
            .int64(
                "stale_rows", \.staleRows,
                "rollouts that objective.drop_stale left out of the step; null without it"),
            .float64(
                "expert_imbalance", \.expertImbalance,
                """
                tokens of the busiest expert of any layer, over its layer's mean: 1 is balance; null without experts
                """),
            .float64(
                "experts_idle", \.expertsIdle,
                "share of all experts of all layers, 0 to 1, that no token took; null without experts"),
            .float64(
                "experts_replayed", \.expertsReplayed,
                "share of tokens, 0 to 1, whose experts were the sampler's; null without experts"),
        ],
        make: { MetricsRow() }, weight: { _ in 16 }, writer: "crux-update")
}
