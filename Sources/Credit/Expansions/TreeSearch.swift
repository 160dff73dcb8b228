/// Tree search at surprising tokens (TreeRL): every rollout of a group is sampled anew from its least likely tokens, and a
/// prompt's rollouts with their branches are one tree. A leaf is worth its reward less the mean of the other leaves; a node
/// V(s), the mean over the leaves below. A stretch of tokens up to a node gets (V(s) - V(parent)) + V(s): how much better the
/// node is than where it came from, and how good it is at all. The root's V is 0.
///
/// In each round a rollout's tree is sampled anew from N of its tokens: the first round's are the rollout's own, later ones
/// are any of the tree's that a branch doesn't begin with and that weren't chosen before. The code gives a token whose V is
/// exactly 0 that of the one before it, which is not copied.
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
    /// L: each round is planned from what came back of the one before.
    package var rounds = 1
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
            + Bounds.problems("expansion.rounds", rounds, Bounds.rounds)
            + (rounds > 1 && !rule.ranksTokens
                ? [
                    "expansion.rounds is \(rounds), but anchor_score \(anchorScore.word) doesn't say which of a tree's "
                        + "tokens come first; expected 1 round, or another anchor_score"
                ] : [])
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

    package func branches(of group: [BaseRollout], round: Int, seeds: [UInt64], encode: (String) -> [Int32])
        -> BranchPlan
    {
        let each = zip(group, seeds).map { states(of: $0, seed: $1, encode: encode) }
        guard round > 1 else { return BranchPlan(states: each) }
        let lineage = Lineage(group)
        var plan = BranchPlan(states: group.map { _ in [] })
        for tree in lineage.trees {
            for (base, position) in best(of: tree, in: group, lineage) {
                let entropy = group[base].entropy.isEmpty ? nil : group[base].entropy[position]
                plan.states[base].append(ExpansionState(position: position, anchorEntropy: entropy))
            }
        }
        for base in plan.states.indices { plan.states[base].sort { $0.position < $1.position } }
        return plan
    }

    /// The N tokens of a tree that the rule would rather go back to than to any other.
    private func best(of tree: [Int], in group: [BaseRollout], _ lineage: Lineage) -> [(base: Int, position: Int)] {
        let found = tree.flatMap { base -> [(base: Int, position: Int, score: Float)] in
            let chosen = lineage.cuts[base], scores = rule.scores(of: group[base]),
                answer = excludeAnswer ? group[base].answerTokens : 0..<0
            // As many more as were chosen before: those fall out again.
            return rule.positions(
                in: group[base], count: anchors + chosen.count, gap: minimumGap, answer: answer
            )
            .filter { position in chosen.allSatisfy { abs($0 - position) >= minimumGap } }
            .map { (base, $0, scores[$0]) }
        }
        return found.sorted {
            $0.score != $1.score ? $0.score > $1.score : ($0.base, $0.position) < ($1.base, $1.position)
        }
        .prefix(anchors).map { ($0.base, $0.position) }
    }

    package func credit(_ expanded: ExpandedBase) -> ExpansionCredit { credit(group: [expanded])[0] }

    package func credit(group: [ExpandedBase]) -> [ExpansionCredit] {
        let rewards = group.flatMap(\.leafRewards), sum = rewards.reduce(0, +)
        guard rewards.count > 1, !GroupFilter.areEqual(rewards) else { return group.map(\.degenerate) }
        let others = Double(rewards.count - 1)
        let forest = RolloutForest(group) { $0 - (sum - $0) / others }
        return group.indices.map { credit(of: group[$0], number: $0, in: forest) }
    }

    private func credit(of expanded: ExpandedBase, number: Int, in forest: RolloutForest) -> ExpansionCredit {
        var credit = ExpansionCredit()
        credit.values = expanded.states.map { forest.node(of: number, endingAt: $0.position).value }
        for (state, outcomes) in expanded.outcomes.enumerated() {
            let path = forest.path(of: number, upTo: expanded.states[state].position)
            for outcome in outcomes {
                let mask = expanded.mask(of: outcome, from: expanded.states[state])
                credit.rows.append(
                    CreditedRow(
                        row: outcome.row, groupID: expanded.base.groupID, reward: outcome.reward, mask: mask,
                        advantages: advantages(mask, path, leaf: forest.worth(outcome.reward))))
            }
        }
        if !expanded.isBaseRejected {
            let base = expanded.base, path = forest.path(of: number, upTo: base.mask.count)
            credit.rows.append(
                CreditedRow(
                    row: expanded.row, groupID: base.groupID, reward: base.reward, mask: base.mask,
                    advantages: advantages(base.mask, path, leaf: forest.worth(base.reward))))
        }
        return credit
    }

    /// Of a row whose first tokens run through the nodes of a path and whose others lead to a leaf.
    private func advantages(_ mask: [Bool], _ path: [RolloutForest.Node], leaf: Double) -> [Double] {
        var advantages = [Double](repeating: 0, count: mask.count), start = 0, parent = 0.0
        for node in path {
            let value = node.value ?? parent, end = min(node.end, mask.count)
            for t in start..<max(start, end) where mask[t] {
                advantages[t] = worth(value, parent, leaves: max(1, node.leaves))
            }
            (start, parent) = (max(start, end), value)
        }
        for t in start..<mask.count where mask[t] { advantages[t] = worth(leaf, parent, leaves: 1) }
        return advantages
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
}
