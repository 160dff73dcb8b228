import Foundation
import Randomness

/// An expansion that branches behind answers of tools, and compares all rows of a prompt.
package protocol ToolExpansion: Expansion {
    /// p
    var probability: Double { get }
    /// w
    var entropyWeight: Double { get }
    var window: Int { get }
    /// V; nil: the dump's.
    var vocabulary: Int? { get }
    var normalize: GRPO.Normalization { get }
}

extension ToolExpansion {
    var tools: ToolBranching {
        ToolBranching(
            probability: probability, entropyWeight: entropyWeight, window: window, vocabulary: vocabulary)
    }

    package var readsEntropy: Bool { true }
    package var readsRoles: Bool { true }
    package var readsVocabulary: Bool { vocabulary == nil }
    package var trainsPrefixes: Bool { true }
    package var trainsBases: Bool { true }
    package var comparesBases: Bool { true }

    package func credit(_ expanded: ExpandedBase) -> ExpansionCredit { credit(group: [expanded])[0] }

    package func credit(group: [ExpandedBase]) -> [ExpansionCredit] { ComparedRows(normalize: normalize).credit(group) }
}

/// Branches behind answers of tools, the more readily the more uncertain the answer has left the policy: with
/// probability p + w·ΔH, kept within 0 and 1. ΔH is the mean entropy of the next round's first tokens less that of the
/// first round's, over log V.
struct ToolBranching {
    let probability: Double
    let entropyWeight: Double
    /// Tokens of a round whose entropies are looked at.
    let window: Int
    /// V; nil: the dump's.
    let vocabulary: Int?

    /// Whether clamp(U - w·ΔH) <= p. `uniform`: U, in [0, 1).
    func isTaken(_ uniform: Double, change: Double) -> Bool {
        min(max(uniform - entropyWeight * change, 0), 1) <= probability
    }

    /// Branches of one rollout, by the number of the answer that they stand behind.
    func taken(in base: BaseRollout, seed: UInt64) -> [(turn: Int, state: ExpansionState)] {
        guard let first = firstEntropy(of: base) else { return [] }
        var random = SplitMix64(seed: seed)
        return answeredPositions(base).enumerated().filter { _, position in
            let uniform = random.uniform()
            guard let entropy = entropy(of: base, from: position) else { return false }
            return isTaken(uniform, change: entropy - first)
        }
        .map { (turn: $0, state: ExpansionState(position: $1, anchorEntropy: base.entropy[$1])) }
    }

    func candidates(in group: [BaseRollout], seeds: [UInt64]) -> [BranchBudget.Candidate] {
        group.indices.flatMap { base in
            taken(in: group[base], seed: seeds[base]).map {
                BranchBudget.Candidate(base: base, turn: $0.turn, state: $0.state)
            }
        }
    }

    /// Mean entropy of the first round's first tokens, over log V; nil where it isn't known.
    func firstEntropy(of base: BaseRollout) -> Double? { entropy(of: base, from: base.responseStart) }

    /// The same of each round behind an answer.
    func answeredEntropies(of base: BaseRollout) -> [Double] {
        answeredPositions(base).compactMap { entropy(of: base, from: $0) }
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
    private func entropy(of base: BaseRollout, from start: Int) -> Double? {
        let round = (start..<base.mask.count).prefix { base.mask[$0] }.prefix(window)
        guard let size = vocabulary ?? base.vocabulary, !round.isEmpty, !base.entropy.isEmpty else { return nil }
        return round.reduce(0.0) { $0 + Double(base.entropy[$1]) } / Double(round.count) / log(Double(size))
    }

    /// What is wrong with the recipe's keys.
    var problems: [String] {
        let shares =
            probability >= 0 && probability <= 1 ? [] : ["expansion.probability is \(probability); expected 0 to 1"]
        return shares
            + (entropyWeight >= 0 ? [] : ["expansion.entropy_weight is \(entropyWeight); expected 0 or more"])
            + Bounds.problems("expansion.window", window, Bounds.tokens)
            + (vocabulary.map { $0 > 1 } ?? true
                ? [] : ["expansion.vocabulary is \(vocabulary ?? 0); expected more than 1, or null for the dump's"])
    }
}
