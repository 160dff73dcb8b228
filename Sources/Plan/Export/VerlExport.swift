import Arrow
import Objectives
import Recipes
import StageSupport

/// The batch of verl's actor: its loss with `loss_agg_mode: token-sum` is the sum over tokens of the plan's weights,
/// which go as `rollout_is_weights`, times their losses.
struct VerlExport: PlanExport {
    static let name = "verl"
    static let source = "verl 0.9.1, core_algos.compute_policy_loss_* and agg_loss"

    let settings: [String: any Sendable]

    init(_ recipe: Recipe) throws(ExportRefusal) {
        try recipe.requirePlainTokens("verl")
        // verl's KL term has no weights of tokens.
        try recipe.requireKL([], "verl with token-sum")
        settings = try Self.loss(recipe.objective).merging(["loss_agg_mode": "token-sum"]) { $1 }
    }

    /// By the keys of actor_rollout_ref.actor.
    private static func loss(_ objective: any Objective) throws(ExportRefusal) -> [String: any Sendable] {
        switch objective {
        case let loss as PPOClip:
            return [
                "policy_loss.loss_mode": "vanilla", "clip_ratio_low": loss.clipLow, "clip_ratio_high": loss.clipHigh,
                // verl always has a dual clip; one that nothing reaches is none.
                "clip_ratio_c": loss.clipDual ?? 1e9,
            ]
        case let loss as CISPO:
            return [
                "policy_loss.loss_mode": "cispo", "clip_ratio_low": loss.clipLow, "clip_ratio_high": loss.clipHigh,
            ]
        default:
            throw ExportRefusal(
                found: "objective \(type(of: objective).name)", expected: "ppo_clip or cispo, or --format torch")
        }
    }

    private static let table = Table<ExportedRow>.export(
        "A row of verl's actor batch, without its padding.",
        [
            .listInt32("prompts", \.prompt, "token ids before the first one to train on"),
            .listInt32("responses", \.response, "the other token ids; the lists below have this length"),
            .listBool("response_mask", \.mask, "the token was sampled by the policy"),
            .listFloat32("old_log_probs", \.oldLogprobs, "nats"),
            .listFloat32("advantages", \.advantages, "advantages of tokens"),
            .listFloat32("rollout_is_weights", \.weights, "factors of the tokens' losses"),
        ])

    func write(_ plan: ExportedPlan, to directory: StageDirectory) throws -> [Manifest.File] {
        try plan.requirePlainSampling(for: "verl")
        return try writeTable(Self.table, plan, to: directory)
    }
}
