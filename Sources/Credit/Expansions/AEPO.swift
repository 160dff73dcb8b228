import Foundation

/// Agentic entropy-balanced policy optimization: of a prompt's k rows m come from the prompt itself and k - m from branches
/// behind answers of tools, m = k · sigmoid(β (H_root - H_tool)). Where the policy is more uncertain at the start than
/// behind answers, more rows start anew. H_root is the mean entropy of a rollout's first tokens over log V, H_tool that of
/// the first tokens behind each answer, both over all rollouts of the prompt.
///
/// A dump with more than m rollouts of a prompt keeps them all; one with fewer gets fresh ones. Branches are taken as ARPO
/// takes them, and what they leave of the budget goes on fresh rollouts. The paper also makes a branch less likely behind
/// other branches of the same rollout, gives advantages a term of entropy and lets clipped tokens keep a gradient: these
/// equations were not at hand, so they are not here.
package struct AEPO: ToolExpansion {
    package static let name = "aepo"
    package static let source = "AEPO, arXiv 2510.14545 (the budget; its other parts are not here)"

    /// k, rows of a prompt in all.
    package var perGroup = 16
    /// β
    package var balance = 1.0
    /// Continuations of each branch.
    package var replicates = 1
    /// p, before what the entropy adds.
    package var probability = 0.5
    /// w
    package var entropyWeight = 0.2
    /// Tokens of a round whose entropies are looked at.
    package var window = 20
    /// V; null: the dump's.
    package var vocabulary: Int?
    package var normalize = GRPO.Normalization.std
    package var maxTokens: Int?

    package init() {}

    package var problems: [String] {
        commonProblems + tools.problems + ComparedRows(normalize: normalize).problems
            + Bounds.problems("expansion.per_group", perGroup, Bounds.branches)
            + (balance.isFinite && balance >= 0 ? [] : ["expansion.balance is \(balance); expected 0 or more"])
    }

    /// m before it is rounded: k · sigmoid(β (H_root - H_tool)).
    package func roots(rootEntropy: Double, toolEntropy: Double) -> Double {
        Double(perGroup) / (1 + exp(-balance * (rootEntropy - toolEntropy)))
    }

    package func states(of base: BaseRollout, seed: UInt64, encode: (String) -> [Int32]) -> [ExpansionState] {
        branches(of: [base], round: 1, seeds: [seed], encode: encode).states[0]
    }

    package func branches(of group: [BaseRollout], round: Int, seeds: [UInt64], encode: (String) -> [Int32])
        -> BranchPlan
    {
        let roots = max(group.count, min(perGroup, max(1, Int(meanRoots(of: group).rounded()))))
        let budget = BranchBudget(
            branches: perGroup - roots, reserved: roots - group.count, replicates: replicates)
        return budget.spend(on: tools.candidates(in: group, seeds: seeds), in: group)
    }

    /// All k where no tool has answered.
    private func meanRoots(of group: [BaseRollout]) -> Double {
        let first = group.compactMap { tools.firstEntropy(of: $0) },
            answered = group.flatMap { tools.answeredEntropies(of: $0) }
        guard !first.isEmpty, !answered.isEmpty else { return Double(perGroup) }
        return roots(rootEntropy: mean(first), toolEntropy: mean(answered))
    }

    private func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }
}
