import Arrow
import Objectives
import Recipes
import StageSupport

/// NeMo-RL's training data for its clipped policy gradient loss, a mean over the step's tokens, with the plan's weights
/// within the advantages.
struct NeMoRLExport: PlanExport {
    static let name = "nemo_rl"
    static let source = "NeMo-RL 7ea279a, algorithms/loss/loss_functions.ClippedPGLossFn"

    let settings: [String: any Sendable]

    init(_ recipe: Recipe) throws(ExportRefusal) {
        try recipe.requirePlainTokens("NeMo-RL")
        // Its term has exp(lp - sg lp) in front: the value of k3, another derivative.
        try recipe.requireKL([], "NeMo-RL")
        guard let loss = recipe.objective as? PPOClip else {
            throw ExportRefusal(
                found: "objective \(type(of: recipe.objective).name)", expected: "ppo_clip, or --format torch")
        }
        var settings: [String: any Sendable] = [
            "ratio_clip_min": loss.clipLow, "ratio_clip_max": loss.clipHigh, "reference_policy_kl_penalty": 0.0,
            "token_level_loss": true, "use_importance_sampling_correction": false,
            "use_on_policy_kl_approximation": false,
        ]
        settings["ratio_clip_c"] = loss.clipDual
        self.settings = settings
    }

    private static let table = Table<ExportedRow>.export(
        "A row of NeMo-RL's training data, without its padding.",
        [
            .listInt32("input_ids", \.response, "prompt and response; the lists below have this length"),
            .listBool("token_mask", \.mask, "the token was sampled by the policy"),
            .listFloat32(
                "advantages", \.advantages, "advantage times weight times the step's tokens: one for each token"),
            .listFloat32("prev_logprobs", \.oldLogprobs, "nats, under the policy before the step"),
            .listFloat32(
                "generation_logprobs", \.oldLogprobs,
                "the same: what sampler and trainer disagree about is in the weights already"),
            .int32("global_valid_toks", \.tokensOfStep, "tokens to train on in the row's step"),
        ])

    func write(_ plan: ExportedPlan, to directory: StageDirectory) throws -> [Manifest.File] {
        try plan.requirePlainSampling(for: "NeMo-RL")
        return try writeTable(Self.table, plan, to: directory) { row in
            row.advantages = row.weighedAdvantages
            // Its lists begin with the prompt.
            let length = row.prompt.count
            func whole(_ values: [Float]) -> [Float] { [Float](repeating: 0, count: length) + values }
            row.mask = [Bool](repeating: false, count: length) + row.mask
            (row.advantages, row.oldLogprobs) = (whole(row.advantages), whole(row.oldLogprobs))
            row.response = row.prompt + row.response
        }
    }
}
