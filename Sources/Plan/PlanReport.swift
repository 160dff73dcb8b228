import Credit
import Foundation
import Recipes

/// What a researcher judges a plan by.
struct PlanReport {
    let counts: [String: Int]
    let lines: [String]
    let summary: [String: any Sendable]

    init(plan: CreditPlan, inputs: [CreditInput], dropped: [String], recipe: Recipe) {
        let tally = Tally(plan, inputs)
        var counts = [
            "rollouts": inputs.count, "kept": plan.kept.count, "dropped": dropped.count, "steps": tally.steps.count, "trainable_tokens": tally.trainable,
            "kept_tokens": tally.keptTokens,
        ]
        for reason in dropped { counts["dropped_\(reason)", default: 0] += 1 }
        self.counts = counts
        lines = Self.lines(plan, tally, counts)
        summary = [
            "thresholds": plan.thresholds, "share_kept": tally.shareKept, "positive_tokens": tally.positive, "negative_tokens": tally.negative,
            "zero_tokens": tally.zero, "reward_mean": tally.rewardMean, "groups_correct": tally.allCorrect, "groups_wrong": tally.allWrong,
            "resample": plan.resample.count, "staleness_mean": plan.staleness.meanDifference, "staleness_kl": plan.staleness.kl,
            "staleness_max": plan.staleness.largest, "effective_share": plan.staleness.effectiveShare,
            "groups_mixed": tally.mixed, "epochs": recipe.credit.schedule.epochs, "warnings": plan.warnings,
        ]
    }

    private static func staleness(_ plan: CreditPlan, _ number: (Double) -> String) -> String? {
        guard plan.staleness.tokens > 0 else { return nil }
        return "trainer against sampler: log-probabilities differ by \(number(plan.staleness.meanDifference)) on average, at most \(number(plan.staleness.largest)); "
            + "KL \(number(plan.staleness.kl)) per token, effective share of tokens \(number(100 * plan.staleness.effectiveShare)) %"
    }

    private static func resample(_ plan: CreditPlan, _ tally: Tally) -> String? {
        guard !plan.resample.isEmpty else { return nil }
        let all = tally.mixed + tally.allCorrect + tally.allWrong
        return "\(plan.resample.count) of \(all) groups fall short for lack of contrast: resample.jsonl has their prompts, ready for crux-rollout --prompts"
    }

    private static func lines(_ plan: CreditPlan, _ tally: Tally, _ counts: [String: Int]) -> [String] {
        func number(_ value: Double) -> String { String(format: "%.4g", value) }
        let reasons = counts.filter { $0.key.hasPrefix("dropped_") }.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key.dropFirst(8))" }
        let entropies = tally.entropyQuantiles.map { "entropy at 20/50/80/95 %: " + $0.map(number).joined(separator: ", ") }
        let thresholds =
            plan.thresholds.isEmpty
            ? nil
            : "entropy thresholds: \(number(plan.thresholds.min()!)) to \(number(plan.thresholds.max()!)) over \(plan.thresholds.count) scopes, "
                + "\(tally.keptTokens) of \(tally.trainable) tokens kept (\(number(100 * tally.shareKept)) %)"
        return [
            "\(plan.kept.count) rollouts kept, \(counts["dropped"] ?? 0) dropped" + (reasons.isEmpty ? "" : " (\(reasons.joined(separator: ", ")))"),
            "groups: \(tally.mixed) mixed, \(tally.allCorrect) all correct, \(tally.allWrong) all wrong; mean shaped reward \(number(tally.rewardMean))",
            "advantages: \(tally.positive) tokens positive, \(tally.negative) negative, \(tally.zero) zero; mean \(number(tally.advantageMean)), largest size \(number(tally.advantageMax))",
            entropies, thresholds, staleness(plan, number), resample(plan, tally),
        ].compactMap { $0 }
            + tally.steps.prefix(12).map { step, part in
                "step \(step): \(part.groups.count) groups, \(part.rows) rollouts, \(part.trainable) trainable tokens, \(part.kept) kept, weights sum to \(number(part.weight))"
            } + (tally.steps.count > 12 ? ["… \(tally.steps.count - 12) more steps"] : [])
    }
}

/// Sums over a plan, in row order.
private struct Tally {
    struct Step {
        var groups = Set<String>()
        var rows = 0
        var trainable = 0
        var kept = 0
        var weight = 0.0
    }

    private(set) var trainable = 0
    private(set) var keptTokens = 0
    private(set) var positive = 0
    private(set) var negative = 0
    private(set) var zero = 0
    private(set) var allCorrect = 0
    private(set) var allWrong = 0
    private(set) var mixed = 0
    private(set) var rewardMean = 0.0
    private(set) var advantageMean = 0.0
    private(set) var advantageMax = 0.0
    private(set) var steps: [(Int, Step)] = []
    private(set) var entropyQuantiles: [Double]?

    var shareKept: Double { trainable == 0 ? 0 : Double(keptTokens) / Double(trainable) }

    init(_ plan: CreditPlan, _ inputs: [CreditInput]) {
        addTokens(plan, inputs)
        addGroups(inputs)
        rewardMean = plan.kept.isEmpty ? 0 : plan.kept.reduce(0) { $0 + $1.reward } / Double(plan.kept.count)
        let entropies = plan.kept.flatMap { row in inputs[row.index].entropy.isEmpty ? [] : row.mask.indices.filter { row.mask[$0] }.map { inputs[row.index].entropy[$0] }
        }
        if !entropies.isEmpty { entropyQuantiles = [0.2, 0.5, 0.8, 0.95].compactMap { quantile(entropies, $0) } }
    }

    private mutating func addTokens(_ plan: CreditPlan, _ inputs: [CreditInput]) {
        var byStep: [Int: Step] = [:], sum = 0.0
        for row in plan.kept {
            var step = byStep[row.step] ?? Step()
            step.groups.insert(row.groupID)
            step.rows += 1
            for t in row.mask.indices where row.mask[t] {
                let advantage = row.advantages[t]
                if advantage > 0 { positive += 1 } else if advantage < 0 { negative += 1 } else { zero += 1 }
                sum += advantage
                advantageMax = max(advantageMax, abs(advantage))
                step.trainable += 1
                step.kept += row.entropyMask[t] ? 1 : 0
                step.weight += row.weights[t]
            }
            byStep[row.step] = step
        }
        steps = byStep.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        trainable = steps.reduce(0) { $0 + $1.1.trainable }
        keptTokens = steps.reduce(0) { $0 + $1.1.kept }
        advantageMean = trainable == 0 ? 0 : sum / Double(trainable)
    }

    private mutating func addGroups(_ inputs: [CreditInput]) {
        for group in Dictionary(grouping: inputs, by: \.groupID).values {
            if group.allSatisfy({ $0.correct == true }) { allCorrect += 1 } else if group.contains(where: { $0.correct == true }) { mixed += 1 } else { allWrong += 1 }
        }
    }
}
