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

    package var trainable: Int { mask.count { $0 } }
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
    /// The aggregation weight of each token without the entropy mask, for the KL term.
    package var unmaskedWeight = 0.0
    /// How far trainer and sampler are apart, where both are known.
    package var staleness: Staleness?

    /// [L]
    package var unmaskedWeights: [Double] { spread(unmaskedWeight, mask) }
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

/// The part of a recipe that settles credit before training, in the order in which it acts: reward shaping → group
/// filter → advantage → entropy shaping → entropy mask → aggregation weights.
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
    var plannedMask: EntropyMask? { mask?.policy == .plan ? mask : nil }

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

    /// The plan of rows that are in memory.
    package func assign(_ inputs: [CreditInput], seed: UInt64) -> CreditPlan {
        inMemory(inputs) { try settle(try PlanFacts(inputs, reward: shapedReward), $0, seed: seed) }
    }

    /// The second plan of an expansion: rows with advantages of their own. `inputs` describe all rows; a credited row's
    /// mask and group take the place of its input's.
    package func assign(credited: ExpansionCredit, _ inputs: [CreditInput], seed: UInt64) -> CreditPlan {
        let inputs = credited.overlaid(inputs)
        return inMemory(inputs) { try settle(credited, inputs, $0, seed: seed) }
    }

    private func inMemory(_ inputs: [CreditInput], _ settle: (InMemoryTokens) throws -> SettledPlan) -> CreditPlan {
        do { return try CreditPlan(try settle(InMemoryTokens(inputs: inputs)), inputs) } catch {
            preconditionFailure("an array can't fail to be read: \(error)")
        }
    }

    /// The plan of rows whose tokens come from anywhere.
    package func settle(_ facts: PlanFacts, _ source: any TokenSource, seed: UInt64) throws -> SettledPlan {
        var rows = try RowSelection(policy: self, facts: facts, source: source, seed: seed)
        let selection = try rows.run()
        var settlement = Settlement(
            policy: self, facts: facts, groupNames: facts.groupNames, selection: selection, source: source, seed: seed)
        if advantage.whitens {
            let whitening = try Whitening(settlement.advantages)
            if whitening.count == 1 {
                settlement.warnings.append("a single trainable token can't be whitened: its advantage is 0")
            }
            settlement.whitening = whitening
        }
        return try settlement.run()
    }

    /// The same of an expansion's rows, `inputs` with what their credit laid over them.
    package func settle(_ credited: ExpansionCredit, _ inputs: [CreditInput], _ source: any TokenSource, seed: UInt64)
        throws -> SettledPlan
    {
        let facts = try PlanFacts(inputs, reward: shapedReward),
            selection = try CreditedSelection(policy: self, credited: credited, facts: facts, seed: seed)
        var settlement = Settlement(
            policy: self, facts: selection.facts, groupNames: selection.groupNames, selection: selection.selection,
            source: source, seed: seed)
        settlement.advantages = CreditedAdvantages(rows: selection.advantages, masks: selection.masks)
        if expansion?.whitens == true { settlement.whitening = try Whitening(settlement.advantages) }
        return try settlement.run()
    }
}

extension CreditPlan {
    /// A settled plan with all its tokens.
    init(_ settled: SettledPlan, _ inputs: [CreditInput]) throws {
        let credits = try settled.credits(settled.kept.indices, settled.kept.map { inputs[Int($0.row)] })
        kept = credits
        dropped = settled.dropped.entries.map { (Int($0.row), $0.reason) }
        thresholds = settled.thresholds
        resample = settled.resample.map { settled.facts.groupNames[Int($0)] }
        for credit in credits { if let part = credit.staleness { staleness.add(part) } }
        warnings = settled.warnings + settled.closingWarnings(staleness)
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
