import Randomness

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
    /// What estimators and corrections read beside, [L] each.
    package var columns: [TokenColumn: [Float]] = [:]
    /// Rewards of single tokens beside the outcome's, [L]; nil is none.
    package var tokenRewards: [Double]?

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
    /// What a critic or Q network is to learn, where the method has one.
    package var returns: [Double]?
    /// Rollouts that an objective sees together carry the same number.
    package var pair: Int?
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
    /// Groups that were left out for lack of contrast: prompts to sample again.
    package var resample: [String] = []
    package var staleness = Staleness()

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
    package var correction = ImportanceCorrection()
    /// Pairs take the place of groups, for preference objectives.
    package var pairs: PreferencePairs?

    package init() {}

    package var needsEntropy: Bool { shaping != nil || plannedMask?.selection.type.readsEntropy == true }

    /// The mask that the plan settles; one that follows the policy is the update's.
    private var plannedMask: EntropyMask? { mask?.policy == .plan ? mask : nil }

    /// Per-token numbers without which no credit can be given.
    package var columns: Set<TokenColumn> {
        var columns = expansion == nil && pairs == nil ? advantage.columns : []
        if needsEntropy { columns.insert(.entropy) }
        if correction.isOn { columns.formUnion([.oldLogprobs, .rolloutLogprobs]) }
        return columns
    }

    package func shapedReward(_ input: CreditInput) -> Double {
        reward.reward(score: input.reward, isCorrect: input.correct, length: input.length ?? input.trainable)
    }

    package func assign(_ inputs: [CreditInput], seed: UInt64) -> CreditPlan {
        var plan = CreditPlan()
        let rewards = inputs.map(shapedReward)
        let groups = kept(groups(of: inputs), inputs, rewards, &plan)
        if let pairs { pair(groups, inputs, rewards, pairs, seed: seed, &plan) } else { compare(groups, inputs, rewards, seed: seed, &plan) }
        plan.dropped.sort { $0.index < $1.index }
        settle(&plan, inputs, seed: seed)
        return plan
    }

    /// Rollouts credited by the estimator, kept in dump order.
    private func compare(_ groups: [[Int]], _ inputs: [CreditInput], _ rewards: [Double], seed: UInt64, _ plan: inout CreditPlan) {
        let credits = credits(groups, inputs, rewards, &plan)
        let steps = steps(of: groups, inputs, isKept: credits.map { $0 != nil }, seed: seed)
        plan.kept = inputs.indices.compactMap { index in
            guard let credit = credits[index], let step = steps[inputs[index].groupID] else { return nil }
            var row = TokenCredit(
                index: index, groupID: inputs[index].groupID, step: step, mask: inputs[index].mask, reward: rewards[index], advantages: credit.advantages,
                entropyMask: inputs[index].mask)
            row.returns = credit.returns
            return row
        }
        if advantage.whitens {
            if plan.kept.reduce(0, { $0 + $1.mask.count { $0 } }) == 1 { plan.warnings.append("a single trainable token can't be whitened: its advantage is 0") }
            whiten(&plan.kept, masks: plan.kept.map(\.mask))
        }
    }

    /// Chosen and rejected responses side by side, advantages 1 and -1, a rollout once for each pair it is in.
    private func pair(_ groups: [[Int]], _ inputs: [CreditInput], _ rewards: [Double], _ pairs: PreferencePairs, seed: UInt64, _ plan: inout CreditPlan) {
        var found: [[(chosen: Int, rejected: Int)]] = []
        for group in groups {
            let members = group.filter { filter.truncated == .keep || !inputs[$0].isTruncated }
            // By the group's name, so that its pairs don't depend on where it stands in the dump.
            var random = SplitMix64(seed: inputs[group[0]].groupID.utf8.reduce(seed) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 })
            let made = pairs.pairs(correct: members.map { inputs[$0].correct }, lengths: members.map { inputs[$0].trainable }, random: &random)
                .map { (members[$0.chosen], members[$0.rejected]) }
            let used = Set(made.flatMap { [$0.0, $0.1] })
            plan.dropped += group.filter { !used.contains($0) }.map { ($0, members.contains($0) ? "no_pair" : "truncated") }
            if !made.isEmpty { found.append(made) }
        }
        var number = 0
        for (step, made) in zip(schedule.steps(groups: found.count, seed: seed), found) {
            for (chosen, rejected) in made {
                for (index, advantage) in [(chosen, 1.0), (rejected, -1.0)] {
                    let mask = inputs[index].mask
                    var row = TokenCredit(
                        index: index, groupID: inputs[index].groupID, step: step, mask: mask, reward: rewards[index], advantages: mask.map { $0 ? advantage : 0 },
                        entropyMask: mask)
                    row.pair = number
                    plan.kept.append(row)
                }
                number += 1
            }
        }
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
    private func groups(of inputs: [CreditInput]) -> [[Int]] { grouped(inputs.indices, by: { inputs[$0].groupID }) }

    private func kept(_ groups: [[Int]], _ inputs: [CreditInput], _ rewards: [Double], _ plan: inout CreditPlan) -> [[Int]] {
        groups.filter { group in
            guard let reason = filter.dropReason(correct: group.map { inputs[$0].correct }, rewards: group.map { rewards[$0] }) else { return true }
            plan.dropped += group.map { ($0, reason) }
            if let first = group.first { plan.resample.append(inputs[first].groupID) }
            return false
        }
    }

    /// One credit per input; nil for those that are dropped or were before.
    private func credits(_ groups: [[Int]], _ inputs: [CreditInput], _ rewards: [Double], _ plan: inout CreditPlan) -> [EpisodeCredit?] {
        var result = [EpisodeCredit?](repeating: nil, count: inputs.count)
        let singles = groups.count { $0.count == 1 }
        if singles > 0 { plan.warnings.append("\(singles) groups have a single rollout: nothing to compare it with") }
        let episodes = groups.map { $0.map { episode(inputs[$0], rewards[$0]) } }
        for (group, credits) in zip(groups, advantage.credit(episodes)) {
            let isZeroed = filter.degenerateGroups == .zero && GroupFilter.isDegenerate(correct: group.map { inputs[$0].correct }, rewards: group.map { rewards[$0] })
            for (index, credit) in zip(group, credits) {
                if credit == nil {
                    plan.dropped.append((index, type(of: advantage).dropReason))
                } else if filter.truncated == .drop, inputs[index].isTruncated {
                    plan.dropped.append((index, "truncated"))
                } else {
                    result[index] = isZeroed ? EpisodeCredit(advantages: inputs[index].mask.map { _ in 0 }) : credit
                }
            }
        }
        return result
    }

    private func episode(_ input: CreditInput, _ reward: Double) -> Episode {
        Episode(reward: reward, correct: input.correct, mask: input.mask, tokenRewards: input.tokenRewards, columns: input.columns)
    }

    /// Groups with at least one kept rollout are dealt to steps in dump order.
    private func steps(of groups: [[Int]], _ inputs: [CreditInput], isKept: [Bool], seed: UInt64) -> [String: Int] {
        let live = groups.filter { $0.contains { isKept[$0] } }.compactMap { $0.first.map { inputs[$0].groupID } }
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

    private func applyMask(_ plan: inout CreditPlan, _ inputs: [CreditInput], seed: UInt64) {
        guard let mask = plannedMask else { return }
        for (number, rows) in scopes(mask.scope, plan, inputs).enumerated() {
            let entropies = rows.flatMap { row in trainable(inputs[plan.kept[row].index]) }
            let (kept, threshold) = mask.keep(entropies, seed: seed &+ UInt64(number))
            if let threshold { plan.thresholds.append(threshold) }
            if mask.ties == .quantile, (mask.spelledOut.top ?? 1) < 1, threshold == 0, !plan.warnings.contains(Self.zeroThreshold) {
                plan.warnings.append(Self.zeroThreshold)
            }
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
            let countsKept = plannedMask?.normalizer == .kept
            let masked = aggregation.weights(StepCounts(trainable: trainable, kept: kept, countsKept: countsKept, longest: longest))
            let unmasked = aggregation.weights(StepCounts(trainable: trainable, kept: trainable, countsKept: false, longest: longest))
            for (position, row) in rows.enumerated() {
                plan.kept[row].weights = plan.kept[row].entropyMask.map { $0 ? masked[position] : 0 }
                plan.kept[row].unmaskedWeights = inputs[plan.kept[row].index].mask.map { $0 ? unmasked[position] : 0 }
            }
        }
        correct(&plan, inputs)
    }

    /// Weighs tokens by what trainer and sampler disagree about, and takes note of how much that is wherever both are known.
    private func correct(_ plan: inout CreditPlan, _ inputs: [CreditInput]) {
        for row in plan.kept.indices {
            let input = inputs[plan.kept[row].index]
            guard let trainer = input.columns[.oldLogprobs], let sampler = input.columns[.rolloutLogprobs] else { continue }
            plan.staleness.add(trainer: trainer, sampler: sampler, mask: input.mask)
            guard correction.isOn else { continue }
            let factors = correction.weights(trainer: trainer, sampler: sampler, mask: input.mask)
            for t in factors.indices { plan.kept[row].weights[t] *= factors[t] }
        }
        if correction.isOn, plan.staleness.largest == 0, plan.staleness.tokens > 0 {
            plan.warnings.append("old_logprobs are the sampler's own, so the correction does nothing: score with --checkpoint DIR, the policy to be trained")
        }
    }
}

/// Indices with equal keys together, in order of first appearance.
func grouped<Key: Hashable>(_ rows: Range<Int>, by key: (Int) -> Key) -> [[Int]] {
    var order: [Key] = [], members: [Key: [Int]] = [:]
    for row in rows {
        let key = key(row)
        if members[key] == nil { order.append(key) }
        members[key, default: []].append(row)
    }
    return order.compactMap { members[$0] }
}
