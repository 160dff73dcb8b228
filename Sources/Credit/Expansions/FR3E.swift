import Foundation

/// First Return, Entropy-Eliciting Explore: goes back to a trajectory's most uncertain tokens, samples again from
/// there, and trains on the continuations. Within a state A = R - V(S_j); times α_j = exp(-ΔV_j), so that states where
/// the base made progress count less and states where it went wrong count more.
package struct FR3E: Expansion {
    package static let name = "fr3e"
    package static let source = "FR3E, arXiv 2507.07017; code Zheng0428/FR3E"

    /// `one_of_each`: one correct and one wrong rollout of a group, the smallest id first; `all`: every rollout.
    package enum Bases: String, Codable, CaseIterable, Sendable {
        case oneOfEach = "one_of_each"
        case all
    }
    /// Which state ΔV_j looks back to: the one before it, or the last before it whose outcomes differ (the code).
    package enum Previous: String, Codable, CaseIterable, Sendable { case state, surviving }
    /// ΔV_0: 1 - V(S_0) (the code), or a neutral factor of 1.
    package enum Root: String, Codable, CaseIterable, Sendable { case remaining, neutral }

    /// K
    package var anchors = 4
    /// M
    package var replicates = 16
    /// What makes a fork: `entropy` is the paper's description, `surprisal` its code, `blank_lines` the code's other
    /// mode.
    package var anchorScore = MemberName<AnchorRegistry>(EntropyAnchors.name)
    package var minimumGap = 1
    /// Leaves the final answer's own tokens alone (needs a tokenizer; without one it is passed over).
    package var excludeAnswer = true
    package var bases = Bases.oneOfEach
    package var previous = Previous.state
    package var root = Root.remaining
    /// Exponent of the code's sharpening (1.5 there): ΔV_j <- sign · |ΔV_j|^a / Σ|ΔV|^a. null is off.
    package var sharpen: Double?
    /// Divides a state's advantages by their deviation (Bessel) + 1e-6.
    package var normalize = GRPO.Normalization.none
    package var maxTokens: Int?

    package init() {}

    package var problems: [String] {
        commonProblems + Bounds.problems("expansion.anchors", anchors, 0...Bounds.branches.upperBound)
            + Bounds.problems("expansion.minimum_gap", minimumGap, Bounds.tokens)
            + (sharpen.map { $0 > 0 } ?? true
                ? [] : ["expansion.sharpen is \(sharpen ?? 0); expected above 0, or null"])
            + (normalize == .batch || normalize == .mean
                ? [
                    "expansion.normalize is \(normalize.rawValue), but advantages are compared within a state, of any "
                        + "rewards; expected std or none"
                ] : [])
    }

    package var unread: [String: String] {
        if anchors == 0 {
            return ["anchor_score", "minimum_gap", "exclude_answer"].reduce(into: [:]) { $0[$1] = "anchors is 0" }
        }
        return rule == BlankLineAnchors.self
            ? ["exclude_answer": "anchor_score blank_lines never cuts within an answer"] : [:]
    }

    private var rule: any AnchorRule.Type { AnchorRegistry.named(anchorScore) }

    package var readsEntropy: Bool { rule.readsEntropy }
    package var readsLogprobs: Bool { rule.readsLogprobs }
    package var readsText: Bool { rule.readsText }

    package func bases(among group: [BaseRollout]) -> [Int] { chosen(group).filter { rule.opens(group[$0]) } }

    private func chosen(_ group: [BaseRollout]) -> [Int] {
        guard bases == .oneOfEach else { return Array(group.indices) }
        func first(_ isCorrect: Bool) -> Int? {
            group.indices.filter { (group[$0].correct ?? (group[$0].reward > 0)) == isCorrect }.min {
                group[$0].id < group[$1].id
            }
        }
        return [first(true), first(false)].compactMap { $0 }.sorted()
    }

    package func states(of base: BaseRollout, seed: UInt64, encode: (String) -> [Int32]) -> [ExpansionState] {
        let root = ExpansionState(position: base.responseStart)
        // With T tokens there are T - 1 places to go back to.
        let count = min(anchors, base.responseEnd - base.responseStart - 1)
        guard count > 0 else { return [root] }
        return [root]
            + rule.positions(in: base, count: count, gap: minimumGap, answer: excludeAnswer ? base.answerTokens : 0..<0)
            .map {
                ExpansionState(position: $0, anchorEntropy: base.entropy.isEmpty ? nil : base.entropy[$0])
            }
    }

    package func credit(_ expanded: ExpandedBase) -> ExpansionCredit {
        var credit = ExpansionCredit()
        credit.values = expanded.outcomes.map { outcomes in
            outcomes.isEmpty ? nil : outcomes.reduce(0) { $0 + $1.reward } / Double(outcomes.count)
        }
        credit.factors = factors(values: credit.values, survives: expanded.outcomes.map { !Self.isDegenerate($0) })
        for (state, outcomes) in expanded.outcomes.enumerated() {
            guard !Self.isDegenerate(outcomes) else {
                credit.dropped += outcomes.map { ($0.row, .degenerateState) }
                continue
            }
            for (outcome, advantage) in zip(outcomes, advantages(outcomes.map(\.reward))) {
                credit.rows.append(
                    CreditedRow(
                        row: outcome.row, groupID: "\(expanded.base.id)/\(state)", reward: outcome.reward,
                        mask: outcome.mask,
                        advantage: credit.factors[state] * advantage))
            }
        }
        return credit
    }

    /// Nothing to compare: fewer than two continuations, or all with the same reward.
    private static func isDegenerate(_ outcomes: [Outcome]) -> Bool {
        outcomes.count < 2 || GroupFilter.areEqual(outcomes.map(\.reward))
    }

    private func advantages(_ rewards: [Double]) -> [Double] {
        var estimator = GRPO()
        estimator.normalize = normalize
        return estimator.advantages(rewards: rewards).map { $0 ?? 0 }
    }

    /// α_j = exp(-ΔV_j) for every state. A state without a value is as good as the one before it.
    package func factors(values: [Double?], survives: [Bool]) -> [Double] {
        var deltas: [Double] = [], before: Double?
        for (state, value) in values.enumerated() {
            guard let value else {
                deltas.append(0)
                continue
            }
            deltas.append(before.map { value - $0 } ?? (state == 0 && root == .remaining ? 1 - value : 0))
            if previous == .state || survives[state] { before = value }
        }
        return sharpened(deltas).map { exp(-$0) }
    }

    private func sharpened(_ deltas: [Double]) -> [Double] {
        guard let exponent = sharpen else { return deltas }
        let total = deltas.reduce(0) { $0 + pow(abs($1), exponent) }
        return total == 0 ? deltas.map { _ in 0 } : deltas.map { ($0 < 0 ? -1 : 1) * pow(abs($0), exponent) / total }
    }
}
