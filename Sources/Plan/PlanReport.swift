import Credit
import Foundation
import Recipes
import StageSupport

/// What a researcher judges a plan by.
struct PlanReport {
    let counts: [String: Int]
    let lines: [String]
    /// For the manifest: what isn't known isn't there.
    let measures: [String: Double]
    let warnings: [String]
    let summary: [String: any Sendable]

    /// `tally`: what the tokens add up to, where they were written.
    /// `trainer`: whether old_logprobs are the trainer's. `dropped`: how often each reason was given.
    init(
        plan: CreditPlan, tally: PlanTally?, trainer: TrainerLogprobs, facts: RolloutFacts, dropped: [String: Int],
        recipe: Recipe
    ) {
        let figures = Figures(plan, facts)
        var counts = Self.counts(dropped: dropped)
        counts.merge(
            [
                "rollouts": facts.rows.count, "kept": plan.kept.count, "steps": figures.steps.count,
                "trainable_tokens": figures.trainable,
                "kept_tokens": figures.keptTokens,
            ]) { $1 }
        if plan.facts.hasIntervals, recipe.credit.mask != nil { counts["undecided_tokens"] = plan.undecided }
        self.counts = counts
        let staleness = tally.map(\.staleness).flatMap { staleness in
            trainer.areKnown(tokens: staleness.tokens, largest: staleness.largest) ? staleness : nil
        }
        lines = Self.lines(plan, figures, tally, staleness, counts)
        warnings = Self.warnings(plan, tally, recipe) + Self.unfiltered(figures, recipe.credit.filter)
        measures = staleness.map(Self.measures) ?? [:]
        var summary: [String: any Sendable] = [
            "thresholds": plan.thresholds, "share_kept": figures.shareKept, "reward_mean": figures.rewardMean,
            "groups_correct": figures.allCorrect,
            "groups_wrong": figures.allWrong, "groups_mixed": figures.mixed, "groups_unjudged": figures.unjudged,
            "groups_unjudged_with_contrast": figures.unjudgedWithContrast, "resample": plan.resample.count,
            "epochs": recipe.credit.schedule.epochs,
        ]
        if let tally { summary.merge(Self.summary(plan, tally, staleness)) { $1 } }
        self.summary = summary
    }

    /// Steps that would change nothing, or only what decay and penalties do.
    private static func warnings(_ plan: CreditPlan, _ tally: PlanTally?, _ recipe: Recipe) -> [String] {
        guard let tally, !plan.kept.isEmpty, recipe.objective.readsAdvantages else { return [] }
        let missing = missing(tally)
        guard tally.positive == 0, tally.negative == 0 else { return missing }
        return missing + [
            "every advantage is 0: no rollout is better than another, and the steps have no gradient\(recipe.kl.isInLoss ? " but the KL term's" : "")"
        ]
    }

    /// What others don't know of tokens that the plan trains on all the same.
    private static func missing(_ tally: PlanTally) -> [String] {
        var found: [String] = []
        if tally.withoutSampler > 0 {
            found.append(
                "\(tally.withoutSampler) rollouts have no log-probabilities of the sampler's: the correction leaves them "
                    + "as they are (correction.allow_missing)")
        }
        if tally.excludedByTeacher > 0 {
            found.append(
                "the teacher excludes \(tally.excludedByTeacher) of the sampled tokens: they count as "
                    + "\(TeacherTerm.least) nats")
        }
        return found
    }

    /// Groups that the filter's range of accuracy says nothing of.
    private static func unfiltered(_ figures: Figures, _ filter: GroupFilter) -> [String] {
        guard filter.minAccuracy != nil || filter.maxAccuracy != nil, figures.withoutVerdict > 0 else { return [] }
        return [
            "\(figures.withoutVerdict) groups have no verdict (correct or wrong), so filter.min_accuracy and "
                + "filter.max_accuracy can't judge them: they stay. Score with a reward that gives verdicts, or take "
                + "these keys out of the recipe"
        ]
    }

    static func counts(dropped: [String: Int]) -> [String: Int] {
        dropped.reduce(into: ["dropped": dropped.values.reduce(0, +)]) { $0["dropped_\($1.key)"] = $1.value }
    }

    /// `staleness`: nil where no trainer's log-probabilities are known.
    private static func summary(_ plan: CreditPlan, _ tally: PlanTally, _ staleness: Staleness?) -> [String:
        any Sendable]
    {
        let unknown = Dictionary(
            uniqueKeysWithValues: measures(Staleness()).keys.map { ($0, NSNull() as any Sendable) })
        let means: [String: any Sendable] = [
            "advantage_mean_right": orNull(tally.right.mean), "advantage_mean_wrong": orNull(tally.wrong.mean),
        ]
        let tokens: [String: any Sendable] = [
            "positive_tokens": tally.positive, "negative_tokens": tally.negative, "zero_tokens": tally.zero,
            "rejected_tokens": tally.rejectedTokens, "rejected_rollouts": tally.rejectedRows,
            "warnings": plan.warnings + plan.closingWarnings(tally.staleness),
        ]
        let stale = staleness.map { measures($0).mapValues { $0 as any Sendable } } ?? unknown
        return tokens.merging(means) { $1 }.merging(stale) { $1 }
    }

    private static func orNull(_ value: Double?) -> any Sendable { value ?? NSNull() as any Sendable }

    private static func measures(_ staleness: Staleness) -> [String: Double] {
        [
            "staleness_mean": staleness.meanDifference, "staleness_kl": staleness.kl,
            "staleness_max": staleness.largest,
            "effective_share": staleness.effectiveShare,
        ]
    }

    private static func number(_ value: Double) -> String { String(format: "%.4g", value) }

    private static func staleness(_ staleness: Staleness?) -> String {
        guard let staleness else {
            return "trainer against sampler: not known, because the scores have no log-probabilities of the trainer's; "
                + "crux-score --checkpoint DIR, the policy to be trained, computes them"
        }
        return
            "trainer against sampler: log-probabilities differ by \(number(staleness.meanDifference)) on average, at most \(number(staleness.largest)); "
            + "KL \(number(staleness.kl)) per token, effective share of tokens \(number(100 * staleness.effectiveShare)) %"
    }

    private static func resample(_ plan: CreditPlan, _ figures: Figures) -> String? {
        guard !plan.resample.isEmpty else { return nil }
        let all = figures.mixed + figures.allCorrect + figures.allWrong + figures.unjudged
        return
            "\(plan.resample.count) of \(all) groups fall short for lack of contrast: resample.jsonl has their prompts, ready for crux-rollout --prompts"
    }

    private static func thresholds(_ plan: CreditPlan, _ figures: Figures) -> String? {
        guard let low = plan.thresholds.min(), let high = plan.thresholds.max() else { return nil }
        return "entropy thresholds: \(number(low)) to \(number(high)) over \(plan.thresholds.count) scopes, "
            + "\(figures.keptTokens) of \(figures.trainable) tokens kept (\(number(100 * figures.shareKept)) %)"
    }

    private static func undecided(_ counts: [String: Int], _ figures: Figures) -> String? {
        guard let undecided = counts["undecided_tokens"] else { return nil }
        return
            "\(undecided) of \(figures.trainable) tokens (\(number(100 * Double(undecided) / Double(max(1, figures.trainable)))) %) are undecided: their entropy "
            + "interval reaches over the threshold, and its middle decided"
    }

    private static func groups(_ figures: Figures) -> String {
        let judged = figures.mixed + figures.allCorrect + figures.allWrong
        let all = ["\(figures.mixed) mixed", "\(figures.allCorrect) all correct", "\(figures.allWrong) all wrong"]
        let open = "\(figures.unjudged) not judged throughout (\(figures.unjudgedWithContrast) with different rewards)"
        let verdicts = judged == 0 && figures.unjudged > 0 ? [] : all, unjudged = figures.unjudged == 0 ? [] : [open]
        return "groups: " + (verdicts + unjudged).joined(separator: ", ")
    }

    private static func lines(
        _ plan: CreditPlan, _ figures: Figures, _ tally: PlanTally?, _ staleness: Staleness?, _ counts: [String: Int]
    ) -> [String] {
        let reasons = counts.filter { $0.key.hasPrefix("dropped_") }.sorted { $0.key < $1.key }.map {
            "\($0.value) \($0.key.dropFirst(8))"
        }
        let advantages = tally.map {
            "advantages: \($0.positive) tokens positive, \($0.negative) negative, \($0.zero) zero; mean \(number($0.advantageMean)), largest size \(number($0.advantageMax))"
                + verdicts($0)
        }
        return [
            "\(plan.kept.count) rollouts kept, \(counts["dropped"] ?? 0) dropped"
                + (reasons.isEmpty ? "" : " (\(reasons.joined(separator: ", ")))"),
            groups(figures) + "; mean shaped reward \(number(figures.rewardMean))",
            advantages, tally.flatMap { rejected($0) },
            tally.flatMap { $0.endTokens > 0 ? "\($0.endTokens) tokens that end a sequence have no part" : nil },
            plan.entropyQuantiles.map { "entropy at 20/50/80/95 %: " + $0.map(number).joined(separator: ", ") },
            thresholds(plan, figures),
            undecided(counts, figures), tally == nil || plan.kept.isEmpty ? nil : Self.staleness(staleness),
            resample(plan, figures),
        ].compactMap { $0 } + steps(figures, tally)
    }

    /// What a correction leaves out of rollouts that are kept; nil where it leaves out nothing.
    private static func rejected(_ tally: PlanTally) -> String? {
        guard tally.rejectedTokens > 0 else { return nil }
        let tokens = tally.positive + tally.negative + tally.zero
        return "correction: \(tally.rejectedTokens) of \(tokens) tokens rejected, "
            + "all of them in \(tally.rejectedRows) rollouts"
    }

    /// What right and wrong rollouts' tokens get on average: where an outcome pushes at all, they differ.
    private static func verdicts(_ tally: PlanTally) -> String {
        let parts = [("right", tally.right.mean), ("wrong", tally.wrong.mean)].compactMap { word, mean in
            mean.map { "\(word) tokens \(number($0))" }
        }
        return parts.isEmpty ? "" : "; " + parts.joined(separator: ", ") + " on average"
    }

    private static func steps(_ figures: Figures, _ tally: PlanTally?) -> [String] {
        figures.steps.prefix(12).map { number, step in
            "step \(number): \(step.groups) groups, \(step.rows) rollouts, \(step.trainable) trainable tokens, \(step.kept) kept"
                + (tally.map { ", weights sum to \(self.number($0.weights[number] ?? 0))" } ?? "")
        } + (figures.steps.count > 12 ? ["… \(figures.steps.count - 12) more steps"] : [])
    }
}

/// Counts over a plan's rows.
private struct Figures {
    struct Step {
        var groups = 0
        var rows = 0
        var trainable = 0
        var kept = 0
    }

    private(set) var allCorrect = 0
    private(set) var allWrong = 0
    private(set) var mixed = 0
    /// Without a verdict on every rollout, which the others leave open what they are; and those of them whose rewards
    /// differ.
    private(set) var unjudged = 0
    private(set) var unjudgedWithContrast = 0
    /// Groups of which no rollout was judged.
    private(set) var withoutVerdict = 0
    private(set) var rewardMean = 0.0
    private(set) var steps: [(Int, Step)] = []

    var trainable: Int { steps.reduce(0) { $0 + $1.1.trainable } }
    var keptTokens: Int { steps.reduce(0) { $0 + $1.1.kept } }
    var shareKept: Double { trainable == 0 ? 0 : Double(keptTokens) / Double(trainable) }

    /// `facts` describe all rows that were judged, `plan.facts` what became of them.
    init(_ plan: CreditPlan, _ facts: RolloutFacts) {
        var byStep: [Step] = [], sum = 0.0
        // A group has one step.
        var isSeen = [Bool](repeating: false, count: plan.groupNames.count)
        facts.space.forEach(plan.kept.indices) { position in
            let row = plan.kept[position], fact = plan.facts.rows[Int(row.row)], step = Int(row.step)
            sum += fact.reward
            while byStep.count <= step { byStep.append(Step()) }
            byStep[step].groups += isSeen[Int(row.group)] ? 0 : 1
            byStep[step].rows += 1
            byStep[step].trainable += Int(fact.trainable)
            byStep[step].kept += Int(plan.keptTokens[position])
            isSeen[Int(row.group)] = true
        }
        steps = Array(byStep.enumerated().filter { $0.element.rows > 0 }.map { ($0.offset, $0.element) })
        rewardMean = plan.kept.isEmpty ? 0 : sum / Double(plan.kept.count)
        addGroups(facts)
    }

    private mutating func addGroups(_ facts: RolloutFacts) {
        facts.space.forEach(0..<facts.groups.count) { group in
            let members = facts.groups[group].map { facts.rows[Int($0)] }
            let correct = members.count { $0.correct == true }, wrong = members.count { $0.correct == false }
            if correct > 0, wrong > 0 {
                mixed += 1
            } else if correct + wrong == members.count {
                if correct > 0 { allCorrect += 1 } else { allWrong += 1 }
            } else {
                unjudged += 1
                withoutVerdict += correct + wrong == 0 ? 1 : 0
                unjudgedWithContrast += GroupFilter.areEqual(members.map(\.reward)) ? 0 : 1
            }
        }
    }
}
