import Arrow
import Objectives
import Recipes
import StageSupport

/// What GRPOTrainer makes of its own generation and hands to its loss: with `loss_type: dapo`, a mean over the step's
/// tokens, and the plan's weights within the advantages.
struct TRLExport: PlanExport {
    static let name = "trl"
    static let source = "TRL 1.16, GRPOTrainer._compute_loss"

    let settings: [String: any Sendable]

    init(_ recipe: Recipe) throws(ExportRefusal) {
        try recipe.requirePlainTokens("TRL")
        try recipe.requireKL(["k3"], "TRL")
        if recipe.kl.isInLoss, recipe.kl.weighted == .score {
            throw ExportRefusal(found: "kl.weighted score", expected: "ratio, TRL's use_bias_correction_kl, or none")
        }
        settings = try Self.loss(recipe.objective).merging([
            "beta": recipe.kl.isInLoss ? recipe.kl.coef : 0,
            "use_bias_correction_kl": recipe.kl.isInLoss && recipe.kl.weighted == .ratio,
            "importance_sampling_level": "token",
        ]) { $1 }
    }

    /// By the names of GRPOConfig.
    private static func loss(_ objective: any Objective) throws(ExportRefusal) -> [String: any Sendable] {
        switch objective {
        case let loss as PPOClip:
            var settings: [String: any Sendable] = [
                "loss_type": "dapo", "epsilon": loss.clipLow, "epsilon_high": loss.clipHigh,
            ]
            // A bound of the ratio where it is above the clip is a dual clip of advantages below 0.
            if let dual = loss.clipDual { settings["delta"] = try self.delta(dual, loss) }
            return settings
        case let loss as CISPO where loss.clipLow >= 1:
            return ["loss_type": "cispo", "epsilon_high": 1 + loss.clipHigh]
        case is CISPO:
            throw ExportRefusal(
                found: "cispo with a lower bound", expected: "clip_low 1: TRL's has an upper bound alone")
        default:
            throw ExportRefusal(
                found: "objective \(type(of: objective).name)", expected: "ppo_clip or cispo, or --format torch")
        }
    }

    private static func delta(_ dual: Double, _ loss: PPOClip) throws(ExportRefusal) -> Double {
        guard dual > 1 + loss.clipHigh else {
            throw ExportRefusal(
                found: "clip_dual \(dual)", expected: "more than 1 + clip_high, above which TRL's delta is a dual clip")
        }
        return dual
    }

    private static let table = Table<ExportedRow>.export(
        "A row of what GRPOTrainer hands to its loss, without its padding.",
        [
            .listInt32("prompt_ids", \.prompt, "token ids before the first one to train on"),
            .listInt32("completion_ids", \.response, "the other token ids; the lists below have this length"),
            .listBool("completion_mask", \.mask, "the token was sampled by the policy"),
            .listFloat32(
                "advantages", \.advantages, "advantage times weight times num_items_in_batch: one for each token"),
            .listFloat32("old_per_token_logps", \.oldLogprobs, "nats"),
            .listFloat32("ref_per_token_logps", \.referenceLogprobs, "nats; null without a KL term"),
            .int32("num_items_in_batch", \.tokensOfStep, "tokens to train on in the row's step"),
        ])

    func write(_ plan: ExportedPlan, to directory: StageDirectory) throws -> [Manifest.File] {
        try plan.requirePlainSampling(for: "TRL")
        try plan.requireUniformKL(for: "TRL")
        return try writeTable(Self.table, plan, to: directory) { $0.advantages = $0.weighedAdvantages }
    }
}
