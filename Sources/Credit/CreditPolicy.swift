/// One rollout as credit assignment sees it.
package struct CreditInput: Sendable {
    package var groupID: String
    package var reward: Double
    package var correct: Bool?
    package var isTruncated: Bool
    package var mask: [Bool]
    /// [L]; needed by shaping and masks only.
    package var entropy: [Float]
    /// Tokens that a length penalty counts, where that is more than the trainable ones.
    package var length: Int?

    package init(groupID: String, reward: Double, correct: Bool?, isTruncated: Bool, mask: [Bool], entropy: [Float]) {
        self.groupID = groupID
        self.reward = reward
        self.correct = correct
        self.isTruncated = isTruncated
        self.mask = mask
        self.entropy = entropy
    }

    var trainable: Int { mask.count { $0 } }
}

/// What one kept rollout is to be trained with; arrays of length L, 0 where masked.
package struct TokenCredit: Sendable {
    /// Index into the inputs.
    package let index: Int
    /// Rollouts that were compared with each other.
    package let groupID: String
    package let step: Int
    /// Tokens to train on.
    package let mask: [Bool]
    /// Shaped reward.
    package let reward: Double
    package var advantages: [Double]
    package var entropyMask: [Bool]
    package var weights: [Double] = []
    /// Aggregation weights without the entropy mask, for the KL term.
    package var unmaskedWeights: [Double] = []
}

/// Credit for a whole dump: kept rollouts in dump order, dropped ones with their reason.
package struct CreditPlan: Sendable {
    package var kept: [TokenCredit] = []
    package var dropped: [(index: Int, reason: String)] = []
    /// Per scope that was masked, its threshold (one per step with scope `step`).
    package var thresholds: [Double] = []
    package var warnings: [String] = []

    package init() {}
}

/// The part of a recipe that settles credit before training, in the order in which it acts: reward shaping → group filter
/// → advantage → entropy shaping → entropy mask → aggregation weights.
package struct CreditPolicy: Sendable {
    package var reward = RewardShaping()
    package var filter = GroupFilter()
    package var advantage: any AdvantageEstimator = GroupNormalized()
    package var shaping: EntropyShaping?
    package var mask: EntropyMask?
    package var aggregation: any Aggregation = TokenMean()
    package var schedule = Schedule()
    /// Sampling again from states of the rollouts; takes the place of `advantage`.
    package var expansion: (any Expansion)?

    package init() {}

    package var needsEntropy: Bool { shaping != nil || mask?.selection.type.readsEntropy == true }

    package func shapedReward(_ input: CreditInput) -> Double {
        reward.reward(score: input.reward, isCorrect: input.correct, length: input.length ?? input.trainable)
    }

    package func assign(_ inputs: [CreditInput], seed: UInt64) -> CreditPlan {
        var plan = CreditPlan()
        let rewards = inputs.map(shapedReward)
        let groups = kept(groups(of: inputs), inputs, rewards, &plan)
        let advantages = advantages(groups, inputs, rewards, &plan)
        let steps = steps(of: groups, inputs, advantages: advantages, seed: seed)
        plan.kept = inputs.indices.compactMap { index in
            guard let advantage = advantages[index], let step = steps[inputs[index].groupID] else { return nil }
            let mask = inputs[index].mask
            return TokenCredit(
                index: index, groupID: inputs[index].groupID, step: step, mask: mask, reward: rewards[index], advantages: mask.map { $0 ? advantage : 0 },
                entropyMask: mask)
        }
        plan.dropped.sort { $0.index < $1.index }
        settle(&plan, inputs, seed: seed)
        return plan
    }

    /// The second plan of an expansion: rows with advantages of their own. `inputs` describe all rows; a credited row's mask
    /// and group take the place of its input's.
    package func assign(credited: ExpansionCredit, _ inputs: [CreditInput], seed: UInt64) -> CreditPlan {
        var plan = CreditPlan(), inputs = inputs
        plan.dropped = credited.dropped.map { (index: $0.row, reason: $0.reason) }
        var groups: [String: [CreditedRow]] = [:], order: [String] = []
        for row in credited.rows {
            if groups[row.groupID] == nil { order.append(row.groupID) }
            groups[row.groupID, default: []].append(row)
        }
        let live = order.compactMap { name -> (String, [CreditedRow])? in
            let rows = alive(groups[name] ?? [], inputs, &plan)
            return rows.isEmpty ? nil : (name, rows)
        }
        for (step, (name, rows)) in zip(schedule.steps(groups: live.count, seed: seed), live) {
            for row in rows {
                inputs[row.row].mask = row.mask
                inputs[row.row].groupID = name
                plan.kept.append(
                    TokenCredit(
                        index: row.row, groupID: name, step: step, mask: row.mask, reward: row.reward, advantages: row.advantages, entropyMask: row.mask))
            }
        }
        plan.kept.sort { $0.index < $1.index }
        plan.dropped.sort { $0.index < $1.index }
        if expansion?.whitens == true { whiten(&plan.kept, masks: plan.kept.map { inputs[$0.index].mask }) }
        settle(&plan, inputs, seed: seed)
        return plan
    }

    /// Rows of a group that the filter leaves.
    private func alive(_ rows: [CreditedRow], _ inputs: [CreditInput], _ plan: inout CreditPlan) -> [CreditedRow] {
        if filter.degenerateGroups == .drop, rows.allSatisfy({ $0.advantages.allSatisfy { $0 == 0 } }) {
            plan.dropped += rows.map { ($0.row, "degenerate_group") }
            return []
        }
        return rows.filter { row in
            guard filter.truncated == .drop, inputs[row.row].isTruncated else { return true }
            plan.dropped.append((row.row, "truncated"))
            return false
        }
    }

    /// What follows once advantages stand: shaping, mask, weights.
    private func settle(_ plan: inout CreditPlan, _ inputs: [CreditInput], seed: UInt64) {
        shape(&plan, inputs)
        applyMask(&plan, inputs, seed: seed)
        weigh(&plan, inputs)
    }

    /// Members of each group, groups in dump order.
    private func groups(of inputs: [CreditInput]) -> [[Int]] {
        var order: [String] = [], members: [String: [Int]] = [:]
        for (index, input) in inputs.enumerated() {
            if members[input.groupID] == nil { order.append(input.groupID) }
            members[input.groupID, default: []].append(index)
        }
        return order.compactMap { members[$0] }
    }

    private func kept(_ groups: [[Int]], _ inputs: [CreditInput], _ rewards: [Double], _ plan: inout CreditPlan) -> [[Int]] {
        groups.filter { group in
            let isDegenerate = GroupFilter.isDegenerate(correct: group.map { inputs[$0].correct }, rewards: group.map { rewards[$0] })
            guard filter.degenerateGroups == .drop, isDegenerate else { return true }
            plan.dropped += group.map { ($0, "degenerate_group") }
            return false
        }
    }

    private func advantages(_ groups: [[Int]], _ inputs: [CreditInput], _ rewards: [Double], _ plan: inout CreditPlan) -> [Double?] {
        var result = [Double?](repeating: nil, count: inputs.count)
        let singles = groups.count { $0.count == 1 }
        if singles > 0 { plan.warnings.append("\(singles) groups have a single rollout: nothing to compare it with") }
        for group in groups {
            for (index, advantage) in zip(group, advantage.advantages(rewards: group.map { rewards[$0] })) {
                if advantage == nil {
                    plan.dropped.append((index, type(of: self.advantage).dropReason))
                } else if filter.truncated == .drop, inputs[index].isTruncated {
                    plan.dropped.append((index, "truncated"))
                } else {
                    result[index] = advantage
                }
            }
        }
        return result
    }

    /// Groups with at least one kept rollout are dealt to steps in dump order.
    private func steps(of groups: [[Int]], _ inputs: [CreditInput], advantages: [Double?], seed: UInt64) -> [String: Int] {
        let live = groups.filter { $0.contains { advantages[$0] != nil } }.compactMap { $0.first.map { inputs[$0].groupID } }
        return Dictionary(uniqueKeysWithValues: zip(live, schedule.steps(groups: live.count, seed: seed)))
    }

    private func shape(_ plan: inout CreditPlan, _ inputs: [CreditInput]) {
        guard let shaping else { return }
        for row in plan.kept.indices {
            let input = inputs[plan.kept[row].index]
            for t in input.mask.indices where input.mask[t] {
                plan.kept[row].advantages[t] = shaping.shaped(plan.kept[row].advantages[t], entropy: Double(input.entropy[t]))
            }
        }
    }

    // MARK: mask

    /// Kept rows of one scope, in dump order.
    private func scopes(_ scope: EntropyMask.Scope, _ plan: CreditPlan, _ inputs: [CreditInput]) -> [[Int]] {
        switch scope {
        case .plan: [Array(plan.kept.indices)]
        case .rollout: plan.kept.indices.map { [$0] }
        case .step: grouped(plan.kept.indices, by: { plan.kept[$0].step })
        case .group: grouped(plan.kept.indices, by: { inputs[plan.kept[$0].index].groupID })
        }
    }

    private func grouped<Key: Hashable>(_ rows: Range<Int>, by key: (Int) -> Key) -> [[Int]] {
        var order: [Key] = [], members: [Key: [Int]] = [:]
        for row in rows {
            let key = key(row)
            if members[key] == nil { order.append(key) }
            members[key, default: []].append(row)
        }
        return order.compactMap { members[$0] }
    }

    private func applyMask(_ plan: inout CreditPlan, _ inputs: [CreditInput], seed: UInt64) {
        guard let mask else { return }
        for (number, rows) in scopes(mask.scope, plan, inputs).enumerated() {
            let entropies = rows.flatMap { row in trainable(inputs[plan.kept[row].index]) }
            let (kept, threshold) = mask.keep(entropies, seed: seed &+ UInt64(number))
            if let threshold { plan.thresholds.append(threshold) }
            if mask.ties == .quantile, (mask.spelledOut.top ?? 1) < 1, threshold == 0, !plan.warnings.contains(Self.zeroThreshold) { plan.warnings.append(Self.zeroThreshold) }
            var next = 0
            for row in rows {
                for t in plan.kept[row].entropyMask.indices where inputs[plan.kept[row].index].mask[t] {
                    plan.kept[row].entropyMask[t] = kept[next]
                    next += 1
                }
            }
        }
    }

    private static let zeroThreshold =
        "so many entropies are exactly 0 that the threshold is 0 and every token of a scope is kept: use `ties: exact_count`"

    /// Zeros where entropies are unknown: only a selection that doesn't read them gets so far.
    private func trainable(_ input: CreditInput) -> [Float] {
        input.mask.indices.filter { input.mask[$0] }.map { input.entropy.isEmpty ? 0 : input.entropy[$0] }
    }

    // MARK: weights

    private func weigh(_ plan: inout CreditPlan, _ inputs: [CreditInput]) {
        let longest = reward.overlong?.maxLength ?? plan.kept.map { inputs[$0.index].trainable }.max() ?? 0
        for rows in grouped(plan.kept.indices, by: { [kept = plan.kept] in kept[$0].step }) {
            let trainable = rows.map { inputs[plan.kept[$0].index].trainable }
            let kept = rows.map { plan.kept[$0].entropyMask.count { $0 } }
            let countsKept = mask?.normalizer == .kept
            let masked = aggregation.weights(StepCounts(trainable: trainable, kept: kept, countsKept: countsKept, longest: longest))
            let unmasked = aggregation.weights(StepCounts(trainable: trainable, kept: trainable, countsKept: false, longest: longest))
            for (position, row) in rows.enumerated() {
                plan.kept[row].weights = plan.kept[row].entropyMask.map { $0 ? masked[position] : 0 }
                plan.kept[row].unmaskedWeights = inputs[plan.kept[row].index].mask.map { $0 ? unmasked[position] : 0 }
            }
        }
    }
}
