import Quantiles
import Scratch

// The journey of an advantage, both phases of it. Rewards have been shaped when the rows' facts were gathered.

// MARK: what spans rows

extension CreditRecipe {
    /// Phase one: everything that one row can't know by itself.
    ///
    /// - Parameters:
    ///   - facts: Of every row that may take part, with its shaped reward.
    ///   - source: Where tokens are read, in passes.
    ///   - seed: Decides random masks, pairs and the order of steps.
    /// - Throws: what reading tokens or keeping lists throws.
    package func buildPlan(_ facts: RolloutFacts, _ source: any TokenSource, seed: UInt64) throws -> CreditPlan {
        var filter = try RolloutFilter(recipe: self, facts: facts, source: source, seed: seed)
        let rows = try filter.run()
        let advantages: any AdvantageSource =
            advantage.readsTokens && pairs == nil
            ? try TokenAdvantages(self, rows, facts, source)
            : RewardAdvantages(kept: rows.kept, facts: facts)
        return try buildPlan(rows, facts.groupNames, facts, advantages, whitens: advantage.whitens, source, seed)
    }

    /// The same where an expansion says what rows are worth.
    ///
    /// - Parameters:
    ///   - credited: What it makes of the rows, over all bases.
    ///   - facts: Of all rows, results and bases.
    ///   - source: Where tokens are read, the masks of credited rows laid over their own.
    package func buildPlan(
        _ credited: CreditedRows, _ facts: RolloutFacts, _ source: any TokenSource, seed: UInt64
    ) throws -> CreditPlan {
        let filter = try ExpansionFilter(recipe: self, credited: credited, facts: facts, seed: seed)
        return try buildPlan(
            filter.rows, credited.groupNames, filter.facts, filter.advantages, whitens: expansion?.whitens ?? false,
            source, seed)
    }

    /// Rows and what they are worth → whitening → where masks cut → what weighs how much.
    private func buildPlan(
        _ rows: FilteredRollouts, _ groupNames: InternedStrings, _ facts: RolloutFacts,
        _ advantages: any AdvantageSource, whitens: Bool, _ source: any TokenSource, _ seed: UInt64
    ) throws -> CreditPlan {
        let whitening = whitens ? Whitening(advantages) : nil
        let masking = try MaskPlanner(
            mask: plannedMask, facts: facts, kept: rows.kept, tokens: KeptTokens(rows.kept, facts, source), seed: seed
        ).run()
        let correction = try CorrectionPlanner(
            recipe: self, facts: facts, kept: rows.kept, source: source, mask: masking.mask
        ).run()
        let single =
            whitening?.count == 1 ? ["a single trainable token can't be whitened: its advantage is 0"] : []
        return CreditPlan(
            kept: rows.kept, groupNames: groupNames, facts: facts, dropped: rows.dropped, resample: rows.resample,
            warnings: rows.warnings + single + masking.warnings, masking: masking,
            correction: correction, recipe: self, advantages: advantages, whitening: whitening,
            steps: steps(rows.kept, facts, masking.keptTokens, correction?.counts))
    }

    private func steps(
        _ kept: ScratchArray<PlannedRow>, _ facts: RolloutFacts, _ keptTokens: ScratchArray<Int32>,
        _ corrected: ScratchArray<PlannedCorrection.RowCounts>?
    ) -> [StepCounts] {
        let rows = facts.rows, countsKept = plannedMask?.normalizer == .kept
        var steps: [StepCounts] = [], longest = 0
        facts.space.forEach(kept.indices) { position in
            let row = kept[position], trainable = Int(rows[Int(row.row)].trainable)
            while steps.count <= row.step { steps.append(StepCounts(countsKept: countsKept, longest: 0)) }
            let counts = corrected?[position]
            steps[Int(row.step)].add(
                trainable: counts.map { Int($0.trainable) } ?? trainable,
                kept: Int(counts?.kept ?? keptTokens[position]), isRight: rows[Int(row.row)].isRight,
                environment: Int(rows[Int(row.row)].environment))
            longest = max(longest, trainable)
        }
        for step in steps.indices { steps[step].longest = reward.overlong?.maxLength ?? longest }
        return steps
    }
}

// MARK: what one row gets

/// A plan in which everything is decided that spans rows: who is kept, in which step, where entropies are cut, what
/// weighs how much. What a row's tokens get follows from it and the row alone, so rows can be written in any number of
/// pieces.
package struct CreditPlan: Sendable {
    package let kept: ScratchArray<PlannedRow>
    package let groupNames: InternedStrings
    package let facts: RolloutFacts
    package let dropped: DroppedRows
    /// Groups that gave no contrast, by their number among the facts.
    package let resample: ScratchArray<Int32>
    package let warnings: [String]

    let masking: MaskOutcome
    /// nil where the recipe has none.
    let correction: PlannedCorrection?
    let recipe: CreditRecipe
    let advantages: any AdvantageSource
    let whitening: Whitening?
    /// By step.
    let steps: [StepCounts]

    /// Per scope that was masked, its threshold (one per step with scope `step`).
    package var thresholds: [Double] { masking.thresholds }
    /// Tokens of kept rows that the mask keeps, by row.
    package var keptTokens: ScratchArray<Int32> { masking.keptTokens }
    /// Tokens whose interval does not tell on which side of the threshold they lie, and how many of each row; empty
    /// where there are no intervals.
    package var undecided: Int { masking.undecided }
    package var undecidedByRow: ScratchArray<Int32> { masking.undecidedByRow }
    /// At 20, 50, 80 and 95 %, over trainable tokens; nil where no row has entropies.
    package var entropyQuantiles: [Double]? { masking.entropyQuantiles }
    /// Tokens to train on, over all kept rows.
    package var trainable: Int { steps.reduce(0) { $0 + $1.trainable } }

    /// Phase two: credit of the kept rows at these positions, given their tokens.
    package func credits(_ positions: Range<Int>, _ inputs: [CreditInput]) -> [TokenCredit] {
        zip(zip(positions, inputs), advantages.credits(positions, masks: inputs.map(\.mask))).map {
            credit($0.0, $0.1, $1)
        }
    }

    /// One row, step by step. A credit of an expansion has the expansion's factor in it.
    private func credit(_ position: Int, _ input: CreditInput, _ credit: EpisodeCredit) -> TokenCredit {
        let row = kept[position], step = steps[Int(row.step)], counts = correction?.counts?[position],
            trainable = Int(counts?.trainable ?? facts.rows[Int(row.row)].trainable)
        let whitened = whitening?.apply(credit.advantages, input.mask) ?? credit.advantages
        let taught = recipe.teacher?.applied(to: whitened, input) ?? whitened
        let shaped = recipe.shaping?.shaped(taught, input.entropy, input.mask) ?? taught
        let entropyMask = masking.mask?.marks(position, input) ?? input.mask
        let weights = spread(recipe.aggregation.weight(trainable: trainable, in: step), entropyMask)
        let klAggregation = recipe.expansion?.klAggregation ?? recipe.aggregation

        var result = TokenCredit(
            index: Int(row.row), groupID: groupNames[Int(row.group)], step: Int(row.step), mask: input.mask,
            reward: facts.rows[Int(row.row)].reward, advantages: shaped, entropyMask: entropyMask)
        (result.plainWeights, result.counts) = (weights, step)
        result.isRight = facts.rows[Int(row.row)].isRight
        let corrected = correction?.row(position, Int(row.step), input)
        result.weights = corrected.map { zip(weights, $0.weights).map(*) } ?? weights
        result.lacksSampler = recipe.correction.isOn && input.columns[.rolloutLogprobs] == nil
        result.rejected = corrected.map { input.trainable - $0.keeps.count { $0 } } ?? 0
        result.excludedByTeacher = recipe.teacher == nil ? 0 : TeacherTerm.excluded(input)
        if counts != nil { result.klMask = corrected?.keeps }
        result.unmaskedWeight = klAggregation.weight(trainable: trainable, in: step.unmasked)
        result.returns = credit.returns
        result.pair = row.pair < 0 ? nil : Int(row.pair)
        result.staleness = Staleness(input)
        return result
    }

    /// What can be said only when all rows have been seen.
    package func closingWarnings(_ staleness: Staleness) -> [String] {
        guard recipe.correction.isOn, staleness.largest == 0, staleness.tokens > 0 else { return [] }
        return [
            "old_logprobs are the sampler's own, so the correction does nothing: score with --checkpoint DIR, the policy to be trained"
        ]
    }
}

extension TeacherTerm {
    /// [L] advantages with what the teacher says of the tokens.
    fileprivate func applied(to advantages: [Double], _ input: CreditInput) -> [Double] {
        guard input.isTaught, let teacher = input.columns[.teacherLogprobs], let old = input.columns[.oldLogprobs]
        else {
            return advantages
        }
        return applied(to: advantages, teacher: teacher, old: old, mask: input.mask)
    }

    /// Trainable tokens that it gives no probability worth the name.
    fileprivate static func excluded(_ input: CreditInput) -> Int {
        guard input.isTaught, let teacher = input.columns[.teacherLogprobs] else { return 0 }
        return input.mask.indices.count { input.mask[$0] && teacher[$0] <= least }
    }
}

extension EntropyShaping {
    /// [L] advantages, shaped where tokens are trained on.
    fileprivate func shaped(_ advantages: [Double], _ entropy: [Float], _ mask: [Bool]) -> [Double] {
        advantages.indices.map { mask[$0] ? shaped(advantages[$0], entropy: Double(entropy[$0])) : advantages[$0] }
    }
}

extension ImportanceCorrection {
    /// nil where the recipe asks for no correction.
    func weights(_ input: CreditInput) -> [Double]? {
        guard isOn, let row = LogRatios(input, self) else { return nil }
        return zip(weights(row), keeps(row)).map { $1 ? $0 : 0 }
    }
}

extension Staleness {
    /// Of one row; nil where its trainer's or sampler's log-probabilities are not known.
    fileprivate init?(_ input: CreditInput) {
        guard let trainer = input.columns[.oldLogprobs], let sampler = input.columns[.rolloutLogprobs] else {
            return nil
        }
        self.init()
        add(trainer: trainer, sampler: sampler, mask: input.mask)
    }
}
