/// One rollout as credit assignment sees it.
package struct CreditInput: Sendable {
    package var groupID: String
    package var reward: Double
    package var correct: Bool?
    package var isTruncated: Bool
    /// Whether the trainer that dumped it left it out of its loss.
    package var isExcluded = false
    package var mask: [Bool]
    /// [L]; needed by shaping and masks only.
    package var entropy: [Float]
    /// Tokens that a length penalty counts, where that is more than the trainable ones.
    package var length: Int?
    /// What estimators and corrections read beside, [L] each.
    package var columns: [TokenColumn: [Float]] = [:]
    /// Rewards of single tokens beside the outcome's, [L]; nil is none.
    package var tokenRewards: [Double]?
    /// Whether it was decoded greedily, where somebody wants to know.
    package var isGreedy = false
    /// Whether the teacher has anything to say of it.
    package var isTaught = true
    /// What was there to see before each turn, where somebody wants to know: names that are the same for what is the
    /// same.
    package var turnStates: [String]?
    /// Tokens of an environment that a recipe learns from.
    package var environment = 0
    /// Rewards beside score's own, where a recipe names them.
    package var rewards: [String: Double] = [:]

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
    /// The same without a correction.
    package var plainWeights: [Double] = []
    /// What is known of the rollout's optimizer step.
    package var counts = StepCounts(countsKept: false, longest: 0)
    /// Whether it answers its question, as the filter sees it.
    package var isRight = false
    /// What a critic or Q network is to learn, where the method has one.
    package var returns: [Double]?
    /// Rollouts that an objective sees together carry the same number.
    package var pair: Int?
    /// The aggregation weight of each token without the entropy mask, for the KL term.
    package var unmaskedWeight = 0.0
    /// Tokens that the KL term is over, [L]; nil: all that may be trained on.
    package var klMask: [Bool]?
    /// Trainable tokens that the correction leaves out.
    package var rejected = 0
    /// Whether the sampler's log-probabilities are missing where a correction would read them.
    package var lacksSampler = false
    /// Trainable tokens that the teacher excludes.
    package var excludedByTeacher = 0
    /// How far trainer and sampler are apart, where both are known.
    package var staleness: Staleness?

    /// [L]
    package var unmaskedWeights: [Double] { spread(unmaskedWeight, klMask ?? mask) }
}

/// Credit for a whole dump: kept rollouts in dump order, dropped ones with their reason.
package struct InMemoryPlan: Sendable {
    package var kept: [TokenCredit] = []
    package var dropped: [(index: Int, reason: String)] = []
    /// Per scope that was masked, its threshold (one per step with scope `step`).
    package var thresholds: [Double] = []
    package var warnings: [String] = []
    /// Why there is no plan; nil where there is one.
    package var refusal: String?
    /// Groups that were left out for lack of contrast: prompts to sample again.
    package var resample: [String] = []
    package var staleness = Staleness()

    package init() {}
}

/// The part of a recipe that decides credit before training, in the order in which it acts: reward shaping → group
/// filter → advantage → teacher → entropy shaping → entropy mask → aggregation weights.
package struct CreditRecipe: Sendable {
    package var reward = RewardShaping()
    package var filter = GroupFilter()
    package var advantage: any AdvantageEstimator = GRPO()
    package var teacher: TeacherTerm?
    /// Whether tokens that end a sequence have no part in statistics, thresholds and the update.
    package var excludesEndTokens = false
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

    /// The mask that the plan decides; one that follows the policy is the update's.
    var plannedMask: EntropyMask? { mask?.policy == .plan ? mask : nil }

    /// Per-token numbers without which no credit can be given.
    package var columns: Set<TokenColumn> {
        var columns = expansion == nil && pairs == nil ? advantage.columns : []
        if needsEntropy { columns.insert(.entropy) }
        return columns.union(teacherColumns).union(correctionColumns)
    }

    private var teacherColumns: Set<TokenColumn> { teacher == nil ? [] : [.teacherLogprobs, .oldLogprobs] }

    private var correctionColumns: Set<TokenColumn> {
        correction.isOn ? [.oldLogprobs, .rolloutLogprobs] : correction.readsSampler ? [.rolloutLogprobs] : []
    }

    /// What the estimator reads of a row, with what its correction is made of where it wants to know that.
    var advantageColumns: Set<TokenColumn> {
        advantage.readsCorrection && correction.isOn
            ? advantage.columns.union([.oldLogprobs, .rolloutLogprobs]) : advantage.columns
    }

    /// Whether it matters what was there to see before each turn.
    package var readsTurns: Bool { expansion == nil && pairs == nil && advantage.readsTurns }

    /// Whether it matters what a teacher read.
    package var readsTeacherPrompt: Bool { teacher.map { $0.unprivileged != .keep } ?? false }

    /// Whether a row's metadata must be looked at.
    package var readsGreedy: Bool { expansion == nil && pairs == nil && advantage.readsGreedy }

    /// What a row takes of its own tokens once the plan spans all rows: less than `columns`, since advantages have been
    /// worked out by then.
    package var rowColumns: Set<TokenColumn> {
        Set(needsEntropy ? [.entropy] : []).union(teacherColumns).union(correctionColumns)
    }

    /// The reward that everything after works with.
    package func shapedReward(_ input: CreditInput) -> Double {
        reward.reward(
            score: input.reward, isCorrect: input.correct, length: input.length ?? input.trainable,
            named: input.rewards)
    }

    /// The same of a row's small columns. `length`: tokens that a length penalty counts.
    package func shapedReward(score: Double, isCorrect: Bool?, length: Int) -> Double {
        reward.reward(score: score, isCorrect: isCorrect, length: length)
    }

    /// The plan of rows that are in memory.
    package func assign(_ inputs: [CreditInput], seed: UInt64) -> InMemoryPlan {
        inMemory(inputs) { try buildPlan(try facts(inputs), $0, seed: seed) }
    }

    /// The second plan of an expansion: rows with advantages of their own. `inputs` describe all rows; a credited row's
    /// mask takes the place of its input's.
    package func assign(credited: ExpansionCredit, _ inputs: [CreditInput], seed: UInt64) -> InMemoryPlan {
        var masked = inputs
        for row in credited.rows { masked[row.row].mask = row.mask }
        return inMemory(masked) { source in
            var rows = try CreditedRowsWriter(.memory, rows: inputs.count)
            try rows.add(credited)
            return try buildPlan(
                try rows.finish(), try RolloutFacts(inputs, reward: shapedReward), source, seed: seed)
        }
    }

    /// Facts of rows that are in memory.
    private func facts(_ inputs: [CreditInput]) throws -> RolloutFacts {
        var builder = try RolloutFactsBuilder(.memory, components: reward.components)
        for input in inputs { try builder.add(input, reward: shapedReward(input), components: componentValues(input)) }
        return try builder.finish()
    }

    /// What each of the recipe's components is worth; empty where it names none.
    package func componentValues(_ input: CreditInput) -> [Double] {
        reward.componentValues(score: input.reward, isCorrect: input.correct, named: input.rewards)
    }

    private func inMemory(_ inputs: [CreditInput], _ build: (InMemoryTokens) throws -> CreditPlan) -> InMemoryPlan {
        do { return InMemoryPlan(try build(InMemoryTokens(inputs: inputs)), inputs) } catch let error
            where error is CreditRefusal || error is MissingComponent
        {
            var none = InMemoryPlan()
            none.refusal = "\(error)"
            return none
        } catch {
            preconditionFailure("an array can't fail to be read: \(error)")
        }
    }
}

extension InMemoryPlan {
    /// A plan with all its tokens.
    init(_ plan: CreditPlan, _ inputs: [CreditInput]) {
        let credits = plan.credits(plan.kept.indices, plan.kept.map { inputs[Int($0.row)] })
        kept = credits
        dropped = plan.dropped.entries.map { (Int($0.row), $0.reason) }
        thresholds = plan.thresholds
        resample = plan.resample.map { plan.facts.groupNames[Int($0)] }
        for credit in credits { if let part = credit.staleness { staleness.add(part) } }
        warnings = plan.warnings + plan.closingWarnings(staleness)
    }
}
