import Foundation

/// Trees with a fixed width: rollouts are cut into segments of so many tokens, and at the end of each segment those that
/// go on are sampled anew, until a prompt has `width` rows. Which of them, a softmax over -Σ π log π of the last segment's
/// sampled tokens says (π is the probability of the token that was drawn): whole shares of the budget first, then the
/// largest remainders, no rollout more than `per_branch` times. All rows of a prompt are then compared as GRPO does.
///
/// Round j branches at the end of segment j, from rollouts and from what earlier rounds sampled. A budget that no rollout
/// is long enough to spend is said; ms-swift's plugin then goes back to random segments of finished rollouts.
package struct TreePO: Expansion {
    package static let name = "treepo"
    package static let source = "TreePO, arXiv 2508.17445; ms-swift's tree rollout plugin"

    /// What decides how many continuations a rollout gets.
    package enum Weighting: String, Codable, CaseIterable, Sendable {
        /// its last segment's surprise
        case logprobs
        /// all the same
        case even
    }

    /// Rows of a prompt in all.
    package var width = 16
    /// Tokens of a segment.
    package var segment = 512
    package var rounds = 4
    /// Most continuations of a rollout in a round; the plugin's max_divergence less one, the rollout itself.
    package var perBranch = 1
    package var weighting = Weighting.logprobs
    package var normalize = GRPO.Normalization.std
    package var maxTokens: Int?

    package init() {}

    package var problems: [String] {
        commonProblems + ComparedRows(normalize: normalize).problems
            + Bounds.problems("expansion.width", width, Bounds.branches)
            + Bounds.problems("expansion.segment", segment, Bounds.tokens)
            + Bounds.problems("expansion.rounds", rounds, Bounds.rounds)
            + Bounds.problems("expansion.per_branch", perBranch, Bounds.branches)
    }

    /// Each state has its own number.
    package var replicates: Int { 1 }
    package var readsLogprobs: Bool { weighting == .logprobs }
    package var trainsPrefixes: Bool { true }
    package var trainsBases: Bool { true }
    package var comparesBases: Bool { true }

    package func states(of base: BaseRollout, seed: UInt64, encode: (String) -> [Int32]) -> [ExpansionState] {
        branches(of: [base], round: 1, seeds: [seed], encode: encode).states[0]
    }

    package func branches(of group: [BaseRollout], round: Int, seeds: [UInt64], encode: (String) -> [Int32])
        -> BranchPlan
    {
        var plan = BranchPlan(states: group.map { _ in [] }), budget = max(0, width - group.count)
        let live = group.indices.compactMap { base in end(of: group[base], segments: round).map { (base, $0) } }
        let weights = Self.softmax(live.map { weight(of: group[$0], before: $1) })
        for ((base, position), share) in zip(live, Self.shares(weights, of: budget, most: perBranch)) where share > 0 {
            let entropy = group[base].entropy.isEmpty ? nil : group[base].entropy[position]
            plan.states[base] = [
                ExpansionState(position: position, anchorEntropy: entropy, replicates: share)
            ]
            budget -= share
        }
        plan.unspent = budget
        return plan
    }

    /// The first token that the policy sampled behind so many segments; nil where the rollout has ended by then, or is
    /// another's up to there.
    private func end(of base: BaseRollout, segments: Int) -> Int? {
        let (tokens, overflows) = segments.multipliedReportingOverflow(by: segment)
        guard !overflows else { return nil }
        let position = base.responseStart.addingReportingOverflow(tokens)
        guard !position.overflow else { return nil }
        return base.content.dropFirst().first { $0 >= position.partialValue && base.mask[$0] }
    }

    private func weight(of base: BaseRollout, before end: Int) -> Double {
        guard weighting == .logprobs, !base.logprobs.isEmpty else { return 0 }
        let last = max(base.responseStart, end - segment)..<end
        return Self.surprise(last.filter { base.mask[$0] }.map { Double(base.logprobs[$0]) })
    }

    /// -Σ π log π of sampled tokens.
    package static func surprise(_ logprobs: [Double]) -> Double { logprobs.reduce(0) { $0 - exp($1) * $1 } }

    package static func softmax(_ values: [Double]) -> [Double] {
        let most = values.max() ?? 0, weights = values.map { exp($0 - most) }, sum = weights.reduce(0, +)
        return weights.map { $0 / sum }
    }

    /// Whole shares first, then one more each by the largest remainder, the first of equals first; nobody more than
    /// `most`.
    package static func shares(_ weights: [Double], of budget: Int, most: Int) -> [Int] {
        let ideal = weights.map { $0 * Double(budget) }
        var shares = ideal.map { min(Int($0), most) }, left = budget - shares.reduce(0, +)
        func remainder(_ index: Int) -> Double { ideal[index] - ideal[index].rounded(.down) }
        var waiting = weights.indices.filter { shares[$0] < most }.sorted {
            remainder($0) != remainder($1) ? remainder($0) > remainder($1) : $0 < $1
        }
        while left > 0, !waiting.isEmpty {
            for index in waiting.prefix(left) { shares[index] += 1 }
            left -= min(left, waiting.count)
            waiting.removeAll { shares[$0] >= most }
        }
        return shares
    }

    package func credit(_ expanded: ExpandedBase) -> ExpansionCredit { credit(group: [expanded])[0] }

    package func credit(group: [ExpandedBase]) -> [ExpansionCredit] { ComparedRows(normalize: normalize).credit(group) }
}
