/// Agentic reinforced policy optimization: after each answer of a tool the policy may be sampled anew, the more readily the
/// more uncertain the answer has left it. It branches where clamp(U - w·ΔH) <= p: with probability p + w·ΔH, kept within 0
/// and 1. All rows of a prompt are then compared as GRPO does, tokens that several rows have in common in each of them.
///
/// With `per_group` a prompt has that many rows in all, as in the code: its rollouts, then branches in the order in which
/// their answers came, then fresh rollouts. The code samples one fresh rollout in each round of branching that left some
/// budget; here a prompt's budget is filled at once.
///
/// The code sums -p log p over the ten likeliest tokens and forgets to clear its table of first entropies between batches;
/// exact entropies are taken here, and each row's own first round.
package struct ARPO: ToolExpansion {
    package static let name = "arpo"
    package static let source = "ARPO, arXiv 2507.19849; code RUC-NLPIR/ARPO"

    /// Continuations of each branch: the code's beam of 2 is one beside the row itself.
    package var replicates = 1
    /// Rows of a prompt in all (the code: 16, of which 8 are the dump's); null: every branch, and nothing else.
    package var perGroup: Int?
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
        commonProblems + tools.problems + ComparedRows(normalize: normalize).problems
            + Bounds.problems("expansion.per_group", perGroup, Bounds.branches, orNull: true)
            + Bounds.problems("expansion.branches", branches, Bounds.branches, orNull: true)
    }

    package func states(of base: BaseRollout, seed: UInt64, encode: (String) -> [Int32]) -> [ExpansionState] {
        let taken = tools.taken(in: base, seed: seed)
        return taken.prefix(branches ?? taken.count).map(\.state)
    }

    package func branches(of group: [BaseRollout], round: Int, seeds: [UInt64], encode: (String) -> [Int32])
        -> BranchPlan
    {
        guard let perGroup else {
            return BranchPlan(states: zip(group, seeds).map { states(of: $0, seed: $1, encode: encode) })
        }
        var seen = [Int](repeating: 0, count: group.count)
        let candidates = tools.candidates(in: group, seeds: seeds).filter {
            seen[$0.base] += 1
            return seen[$0.base] <= branches ?? Int.max
        }
        let budget = BranchBudget(branches: perGroup - group.count, replicates: replicates)
        return budget.spend(on: candidates, in: group)
    }

    /// `uniform` in [0, 1); `change`: ΔH.
    package func isTaken(_ uniform: Double, change: Double) -> Bool { tools.isTaken(uniform, change: change) }
}
