/// Tree search at surprising tokens (TreeRL): every rollout of a group is sampled anew from its least likely tokens, and a
/// prompt's rollouts with their branches are one tree. A leaf is worth its reward less the mean of the other leaves; a node
/// V(s), the mean over the leaves below. A stretch of tokens up to a node gets (V(s) - V(parent)) + V(s): how much better the
/// node is than where it came from, and how good it is at all. The root's V is 0.
///
/// One round of branching; a plan of what came back makes the next. The code gives a token whose V is exactly 0 that of the
/// one before it, which is not copied.
package struct TreeSearch: Expansion {
    package static let name = "tree"
    package static let source = "TreeRL, arXiv 2506.11902; code THUDM/TreeRL"

    /// What a stretch of tokens gets.
    package enum Credit: String, Codable, CaseIterable, Sendable {
        case localAndGlobal = "local_and_global"
        /// V(s) - V(parent)
        case local
        /// V(s)
        case global
    }
    /// How tokens that several trained rows share are weighed in each.
    package enum LeafWeight: String, Codable, CaseIterable, Sendable {
        /// they count in each row
        case none
        /// divided by the square root of the leaves below
        case sqrt
        /// they count once
        case uniform
    }

    /// N
    package var anchors = 2
    /// T
    package var replicates = 2
    /// What makes a fork; the code calls surprisal entropy.
    package var anchorScore = MemberName<AnchorRegistry>(SurprisalAnchors.name)
    package var minimumGap = 1
    /// Leaves the final answer's own tokens alone (needs a tokenizer; without one it is passed over).
    package var excludeAnswer = true
    package var credit = Credit.localAndGlobal
    package var leafWeight = LeafWeight.none
    package var maxTokens: Int?

    package init() {}

    package var problems: [String] {
        commonProblems + Bounds.problems("expansion.anchors", anchors, Bounds.branches)
            + Bounds.problems("expansion.minimum_gap", minimumGap, Bounds.tokens)
    }

    package var unread: [String: String] {
        rule == BlankLineAnchors.self
            ? ["exclude_answer": "anchor_score blank_lines never cuts within an answer"] : [:]
    }

    private var rule: any AnchorRule.Type { AnchorRegistry.named(anchorScore) }

    package var readsEntropy: Bool { rule.readsEntropy }
    package var readsLogprobs: Bool { rule.readsLogprobs }
    package var readsText: Bool { rule.readsText }
    package var trainsPrefixes: Bool { true }
    package var trainsBases: Bool { true }
    package var comparesBases: Bool { true }

    package func states(of base: BaseRollout, seed: UInt64, encode: (String) -> [Int32]) -> [ExpansionState] {
        let answer = excludeAnswer ? base.answerTokens : 0..<0
        return rule.positions(in: base, count: anchors, gap: minimumGap, answer: answer).map {
            ExpansionState(position: $0, anchorEntropy: base.entropy.isEmpty ? nil : base.entropy[$0])
        }
    }

    package func credit(_ expanded: ExpandedBase) -> ExpansionCredit { credit(group: [expanded])[0] }

    package func credit(group: [ExpandedBase]) -> [ExpansionCredit] {
        let rewards = group.flatMap(\.leafRewards), sum = rewards.reduce(0, +)
        guard rewards.count > 1, !GroupFilter.areEqual(rewards) else { return group.map(\.degenerate) }
        let others = Double(rewards.count - 1)
        return group.map { base in
            credit(Branches(base) { $0 - (sum - $0) / others }, of: base)
        }
    }

    private func credit(_ tree: Branches, of expanded: ExpandedBase) -> ExpansionCredit {
        var credit = ExpansionCredit()
        credit.values = tree.values
        for (state, outcomes) in expanded.outcomes.enumerated() {
            for (outcome, leaf) in zip(outcomes, tree.branches[state]) {
                let mask = expanded.mask(of: outcome, from: expanded.states[state])
                credit.rows.append(row(outcome.row, outcome.reward, mask, upTo: state + 1, leaf, tree, expanded))
            }
        }
        if let leaf = tree.own {
            let base = expanded.base
            credit.rows.append(row(expanded.row, base.reward, base.mask, upTo: tree.values.count, leaf, tree, expanded))
        }
        return credit
    }

    /// A row whose first tokens run through so many nodes of its base and whose others lead to a leaf.
    private func row(
        _ row: Int, _ reward: Double, _ mask: [Bool], upTo nodes: Int, _ leaf: Double, _ tree: Branches,
        _ expanded: ExpandedBase
    ) -> CreditedRow {
        var advantages = [Double](repeating: 0, count: mask.count), start = 0, parent = 0.0
        for node in 0..<nodes {
            let value = tree.values[node] ?? parent, end = expanded.states[node].position
            for t in start..<end where mask[t] { advantages[t] = worth(value, parent, leaves: tree.leaves[node]) }
            (start, parent) = (end, value)
        }
        for t in start..<mask.count where mask[t] { advantages[t] = worth(leaf, parent, leaves: 1) }
        return CreditedRow(row: row, groupID: expanded.base.groupID, reward: reward, mask: mask, advantages: advantages)
    }

    private func worth(_ value: Double, _ parent: Double, leaves: Int) -> Double {
        let plain =
            switch credit {
            case .localAndGlobal: value - parent + value
            case .local: value - parent
            case .global: value
            }
        return switch leafWeight {
        case .none: plain
        case .sqrt: plain / Double(leaves).squareRoot()
        case .uniform: plain / Double(leaves)
        }
    }

    /// A base's nodes and leaves.
    private struct Branches {
        /// V of each node, first to last; nil where no leaf is below.
        private(set) var values: [Double?] = []
        private(set) var leaves: [Int] = []
        /// What each continuation is worth, state by state, and the base's own end; nil where that is left out.
        let branches: [[Double]]
        let own: Double?

        /// `worth`: of a leaf by its reward.
        init(_ expanded: ExpandedBase, worth: (Double) -> Double) {
            branches = expanded.outcomes.map { $0.map { worth($0.reward) } }
            own = expanded.isBaseRejected ? nil : worth(expanded.base.reward)
            var sum = own ?? 0, count = own == nil ? 0 : 1
            for outcomes in branches.reversed() {
                sum += outcomes.reduce(0, +)
                count += outcomes.count
                values.append(count == 0 ? nil : sum / Double(count))
                leaves.append(max(1, count))
            }
            (values, leaves) = (values.reversed(), leaves.reversed())
        }
    }
}

extension ExpandedBase {
    /// Rewards of all that came back, and the base's own where it isn't left out.
    var leafRewards: [Double] {
        outcomes.flatMap { $0.map(\.reward) } + (isBaseRejected ? [] : [base.reward])
    }

    /// Nothing to compare with.
    var degenerate: ExpansionCredit {
        var credit = ExpansionCredit()
        credit.values = outcomes.map { _ in nil }
        let rows = outcomes.flatMap { $0.map(\.row) } + (isBaseRejected ? [] : [row])
        credit.dropped = rows.map { ($0, .degenerateState) }
        return credit
    }

    /// A continuation's own tokens, and its base's before the cut.
    func mask(of outcome: Outcome, from state: ExpansionState) -> [Bool] {
        outcome.mask.indices.map { $0 < state.position ? base.mask[$0] : outcome.mask[$0] }
    }
}
