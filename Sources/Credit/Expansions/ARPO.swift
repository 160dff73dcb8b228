import Foundation
import Randomness

/// Agentic reinforced policy optimization: after each answer of a tool the policy may be sampled anew, the more readily the
/// more uncertain the answer has left it. It branches where clamp(U - w·ΔH) <= p: with probability p + w·ΔH, kept within 0
/// and 1. ΔH is the mean entropy of the next round's first tokens less that of the first round's, over log V. All rows of a
/// prompt are then compared as GRPO does, tokens that several rows have in common in each of them.
///
/// The code sums -p log p over the ten likeliest tokens and forgets to clear its table of first entropies between batches;
/// exact entropies are taken here, and each row's own first round. Unused branches are not made up for by fresh rollouts.
package struct ARPO: Expansion {
    package static let name = "arpo"
    package static let source = "ARPO, arXiv 2507.19849; code RUC-NLPIR/ARPO"

    /// Continuations of each branch: the code's beam of 2 is one beside the row itself.
    package var replicates = 1
    /// p
    package var probability = 0.5
    /// w
    package var entropyWeight = 0.2
    /// Tokens of a round whose entropies are looked at.
    package var window = 20
    /// Most branches of a rollout; null: at every answer that asks for one.
    package var branches: Int?
    /// V; null: the dump's.
    package var vocabulary: Int?
    package var normalize = GRPO.Normalization.std
    package var maxTokens: Int?

    package init() {}

    package var problems: [String] {
        let shares =
            probability >= 0 && probability <= 1 ? [] : ["expansion.probability is \(probability); expected 0 to 1"]
        return commonProblems + shares
            + (entropyWeight >= 0 ? [] : ["expansion.entropy_weight is \(entropyWeight); expected 0 or more"])
            + Bounds.problems("expansion.window", window, Bounds.tokens)
            + Bounds.problems("expansion.branches", branches, Bounds.branches, orNull: true)
            + (vocabulary.map { $0 > 1 } ?? true
                ? [] : ["expansion.vocabulary is \(vocabulary ?? 0); expected more than 1, or null for the dump's"])
            + (normalize == .std || normalize == .none
                ? [] : ["expansion.normalize is \(normalize.rawValue); expected std or none"])
    }

    package var readsEntropy: Bool { true }
    package var readsRoles: Bool { true }
    package var readsVocabulary: Bool { vocabulary == nil }
    package var trainsPrefixes: Bool { true }
    package var trainsBases: Bool { true }
    package var comparesBases: Bool { true }

    package func states(of base: BaseRollout, seed: UInt64, encode: (String) -> [Int32]) -> [ExpansionState] {
        guard let size = vocabulary ?? base.vocabulary, let first = meanEntropy(base, from: base.responseStart) else {
            return []
        }
        var random = SplitMix64(seed: seed)
        let chosen = answeredPositions(base).filter { position in
            let uniform = random.uniform()
            guard let entropy = meanEntropy(base, from: position) else { return false }
            return isTaken(uniform, change: (entropy - first) / log(Double(size)))
        }
        return chosen.prefix(branches ?? chosen.count).map {
            ExpansionState(position: $0, anchorEntropy: base.entropy[$0])
        }
    }

    /// `uniform` in [0, 1); `change`: ΔH.
    package func isTaken(_ uniform: Double, change: Double) -> Bool {
        min(max(uniform - entropyWeight * change, 0), 1) <= probability
    }

    /// Where the policy goes on behind an answer of a tool.
    private func answeredPositions(_ base: BaseRollout) -> [Int] {
        var positions: [Int] = [], isAnswered = false
        for (t, role) in base.roles.enumerated() {
            if role == .tool { isAnswered = true }
            guard base.mask[t] else { continue }
            if isAnswered { positions.append(t) }
            isAnswered = false
        }
        return positions
    }

    /// Over the first sampled tokens of the round that begins there.
    private func meanEntropy(_ base: BaseRollout, from start: Int) -> Double? {
        let round = (start..<base.mask.count).prefix { base.mask[$0] }.prefix(window)
        guard !round.isEmpty, !base.entropy.isEmpty else { return nil }
        return round.reduce(0.0) { $0 + Double(base.entropy[$1]) } / Double(round.count)
    }

    package func credit(_ expanded: ExpandedBase) -> ExpansionCredit { credit(group: [expanded])[0] }

    package func credit(group: [ExpandedBase]) -> [ExpansionCredit] {
        let rewards = group.flatMap(\.leafRewards)
        guard rewards.count > 1, !GroupFilter.areEqual(rewards) else { return group.map(\.degenerate) }
        var estimator = GRPO(), next = 0
        estimator.normalize = normalize
        let advantages = estimator.advantages(rewards: rewards).map { $0 ?? 0 }
        return group.map { expanded in
            var credit = ExpansionCredit()
            func add(_ row: Int, _ reward: Double, _ mask: [Bool]) {
                credit.rows.append(
                    CreditedRow(
                        row: row, groupID: expanded.base.groupID, reward: reward, mask: mask,
                        advantage: advantages[next]))
                next += 1
            }
            for (state, outcomes) in expanded.outcomes.enumerated() {
                for outcome in outcomes {
                    add(outcome.row, outcome.reward, expanded.mask(of: outcome, from: expanded.states[state]))
                }
            }
            if !expanded.isBaseRejected { add(expanded.row, expanded.base.reward, expanded.base.mask) }
            credit.values = expanded.outcomes.map { outcomes in
                outcomes.isEmpty ? nil : outcomes.reduce(0) { $0 + $1.reward } / Double(outcomes.count)
            }
            return credit
        }
    }
}
