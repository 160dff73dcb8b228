/// PRIME: process rewards β·q_t with q_t = log π_φ - log π_ref of an implicit reward model, set against the group
/// leave-one-out, beside the outcome leave-one-out; returns of both, whitened over the plan.
///
/// `recipe` is verl's recipe step by step (the last token has no process reward; all are scaled by the largest return
/// of the plan; process terms deviate from the paper by (r_t - own mean)/(n-1); both terms times 5). `paper` is the
/// paper's equation: r_t minus the mean over the others of their mean token reward, plus the outcome leave-one-out. A
/// KL penalty in the rewards is taken off each token's before returns are summed up (step 6 of the recipe), which
/// neither baseline sees.
package struct PRIME: AdvantageEstimator {
    package static let name = "prime"
    package static let source = "PRIME, arXiv 2502.01456; verl-recipe prime"

    package enum Variant: String, Codable, CaseIterable, Sendable { case recipe, paper }

    package var variant = Variant.recipe
    /// β
    package var beta = 0.05
    /// Weights of process and outcome terms (reward_dpo_coef, reward_gt_coef).
    package var processCoef = 5.0
    package var outcomeCoef = 5.0
    package var gamma = 1.0
    /// Divides process rewards by the largest return in size (`recipe` only).
    package var normalize = true
    package var whiten = true

    package init() {}

    package var problems: [String] {
        (beta > 0 ? [] : ["advantage.beta is \(beta); expected more than 0"])
            + [("process_coef", processCoef), ("outcome_coef", outcomeCoef)].compactMap {
                $1 >= 0 ? nil : "advantage.\($0) is \($1); expected 0 or more"
            } + ((0...1).contains(gamma) ? [] : ["advantage.gamma is \(gamma); expected 0 to 1"])
    }

    package var unread: [String: String] {
        guard variant == .paper else { return [:] }
        return ["process_coef", "outcome_coef", "normalize"].reduce(into: [:]) {
            $0[$1] = "variant is paper, whose equation has none"
        }
    }

    package var rewardsByVerdict: Bool { true }
    package var columns: Set<TokenColumn> { [.processRewards] }
    package var whitens: Bool { whiten }

    package var readsWholePlan: Bool { variant == .recipe && normalize }

    /// The largest return in size of each rollout of the group.
    package func planNumbers(_ group: [Episode]) -> [Double] {
        group.map { discountedReturns(processRewardsBeforeLast($0), gamma: 1).map(abs).max() ?? 0 }
    }

    /// What process rewards are divided by.
    package func planFigures(_ numbers: [Double]) -> [Double] { [(numbers.max() ?? 0) + 1e-6] }

    package func credit(_ group: [Episode], plan: [Double]) -> [EpisodeCredit?] {
        let planScale = plan.first ?? 1
        let rewards = group.map { variant == .recipe ? recipeRewards($0, planScale) : processRewards($0) }
        let terms = Self.leaveOneOut(rewards, adjusts: variant == .recipe), outcomes = outcomeTerms(group)
        return group.indices.map { row in
            let penalties = group[row].penaltiesByPosition
            let total =
                variant == .recipe
                ? recipeTotal(terms[row], outcomes[row], penalties) : paperTotal(terms[row], outcomes[row], penalties)
            return EpisodeCredit(advantages: group[row].spread(total))
        }
    }

    private func processRewards(_ episode: Episode) -> [Double] { episode.numbers(.processRewards).map { beta * $0 } }

    /// Steps 1 and 2: none on the last token; scaled by the plan's largest return.
    private func recipeRewards(_ episode: Episode, _ scale: Double) -> [Double] {
        let rewards = processRewardsBeforeLast(episode)
        return normalize ? rewards.map { $0 / scale } : rewards
    }

    private func processRewardsBeforeLast(_ episode: Episode) -> [Double] {
        var rewards = processRewards(episode)
        if !rewards.isEmpty { rewards[rewards.count - 1] = 0 }
        return rewards
    }

    /// Step 3 (`adjusts`) or the paper's baseline: minus the mean of the others' means. A single rollout has no others.
    private static func leaveOneOut(_ rewards: [[Double]], adjusts: Bool) -> [[Double]] {
        let count = Double(rewards.count)
        guard count > 1 else { return rewards }
        let means = rewards.map { $0.isEmpty ? 0 : $0.reduce(0, +) / Double($0.count) }, sum = means.reduce(0, +)
        return zip(rewards, means).map { own, mean in
            own.map { adjusts ? $0 * count / (count - 1) - sum / (count - 1) : $0 - (sum - mean) / (count - 1) }
        }
    }

    /// Step 4, of correctness where there is a verdict.
    private func outcomeTerms(_ group: [Episode]) -> [Double] {
        let outcomes = group.map { $0.correct.map { $0 ? 1 : 0 } ?? $0.reward }, count = Double(group.count),
            sum = outcomes.reduce(0, +)
        guard count > 1 else { return outcomes }
        if GroupFilter.areEqual(outcomes) { return outcomes.map { _ in 0 } }
        return outcomes.map { ($0 * count - sum) / (count - 1) }
    }

    /// Step 5 but for the whitening.
    private func recipeTotal(_ terms: [Double], _ outcome: Double, _ penalties: [Double]) -> [Double] {
        var total = zip(terms, penalties).map { processCoef * $0 + $1 }
        if !total.isEmpty { total[total.count - 1] += outcomeCoef * outcome }
        return discountedReturns(total, gamma: gamma)
    }

    private func paperTotal(_ terms: [Double], _ outcome: Double, _ penalties: [Double]) -> [Double] {
        discountedReturns(zip(terms, penalties).map(+), gamma: gamma).map { $0 + outcome }
    }
}
