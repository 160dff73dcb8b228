import Credit
import Formats
import Objectives
import Objectives
import Recipes
import StageSupport

/// What a rollout and its credit are in a plan's table.
struct PlanRowMaker: Sendable {
    let recipe: Recipe
    /// For messages.
    let directory: String

    /// - Throws: where a number isn't one that float32 can hold.
    func row(_ credit: TokenCredit, _ source: ScoredRollout) throws -> PlanRow {
        var row = PlanRow()
        row.rolloutID = source.rollout.rolloutID
        row.groupID = credit.groupID
        row.tokenIDs = source.rollout.tokenIDs
        row.lossMask = credit.mask
        row.advantages = floats(credit.advantages)
        row.entropyMask = credit.entropyMask
        row.tokenWeights = floats(credit.weights)
        row.oldLogprobs = oldLogprobs(source) ?? [Float](repeating: 0, count: row.tokenIDs.count)
        row.referenceLogprobs =
            recipe.objective.reference == .process
            ? source.score.processReferenceLogprobs : source.score.referenceLogprobs
        row.returns = credit.returns.map(floats)
        row.values = source.score.values
        row.pair = credit.pair.map { Int32($0) }
        row.klWeights = recipe.kl.isInLoss ? floats(credit.unmaskedWeights) : nil
        row.support = try support(credit, source)
        row.routes = source.rollout.routes
        row.entropyWeights = recipe.loss.bonus.map { floats(entropyWeights(credit, $0)) }
        row.auxiliaryWeights = recipe.loss.auxiliary.map { floats(auxiliaryWeights(credit, source, $0)) }
        row.rolloutLogprobs = recipe.loss.staleRows?.against == .sampler ? source.column(.rolloutLogprobs) : nil
        row.teacherLogprobs = recipe.credit.teacher.flatMap { teacherLogprobs($0, source) }
        row.temperature = source.rollout.temperature
        row.step = Int32(credit.step)
        row.reward = Float(credit.reward)
        row.evidence = source.evidence
        try requireFinite(row)
        return row
    }

    /// Where the update holds them against the policy as it stands; nil for a rollout that is left alone.
    private func teacherLogprobs(_ teacher: TeacherTerm, _ source: ScoredRollout) -> [Float]? {
        guard teacher.policy == .current, teacher.unprivileged == .keep || source.isPrivileged else { return nil }
        return source.column(.teacherLogprobs)
    }

    /// Of the tokens to train on.
    private func support(_ credit: TokenCredit, _ source: ScoredRollout) throws -> SamplingSupport? {
        guard let support = source.rollout.support else { return nil }
        let sampled = source.rollout.lossMask
        if credit.mask == sampled { return support }
        guard !zip(credit.mask, sampled).contains(where: { $0 && !$1 }) else {
            throw StageError(
                .invalidInput,
                "\(directory): rollout '\(source.rollout.rolloutID)': found tokens of its base to train on, of which nobody "
                    + "knows what else could have been drawn, expected none. Score again with --ignore-support.")
        }
        let lists = support.byPosition(sampled)
        return SamplingSupport(credit.mask.indices.filter { credit.mask[$0] }.map { lists[$0].map(Array.init) ?? [] })
    }

    /// [L]
    private func entropyWeights(_ credit: TokenCredit, _ bonus: EntropyBonus) -> [Double] {
        let counts = credit.counts
        switch (bonus.weights, bonus.tokens) {
        case (.policy, .all): return credit.unmaskedWeights
        case (.policy, .kept): return credit.plainWeights
        case (.tokenMean, .all): return credit.mask.map { $0 ? 1 / Double(max(1, counts.trainable)) : 0 }
        case (.tokenMean, .kept): return credit.entropyMask.map { $0 ? 1 / Double(max(1, counts.kept)) : 0 }
        }
    }

    /// [L]
    private func auxiliaryWeights(_ credit: TokenCredit, _ source: ScoredRollout, _ auxiliary: AuxiliaryLoss)
        -> [Double]
    {
        switch auxiliary.type {
        case .positiveNLL: return likelihoodWeights(credit)
        case .environmentNLL:
            let coefficients = source.rollout.environmentCoefficients(auxiliary)
            return coefficients.map { $0 / Double(max(1, credit.counts.environment)) }
        }
    }

    /// [L]: the mean over the tokens of the step's right answers, but for tokens that a correction leaves out.
    private func likelihoodWeights(_ credit: TokenCredit) -> [Double] {
        credit.mask.indices.map { t in
            let isOut = credit.plainWeights[t] != 0 && credit.weights[t] == 0
            return credit.isRight && credit.mask[t] && !isOut ? 1 / Double(max(1, credit.counts.right)) : 0
        }
    }

    /// What the objective's ratio starts from.
    private func oldLogprobs(_ source: ScoredRollout) -> [Float]? {
        switch recipe.credit.correction.behavior {
        case .trainer: source.score.oldLogprobs
        case .sampler: source.rollout.rolloutLogprobs
        }
    }

    /// Nothing that is no finite number leaves a plan.
    private func requireFinite(_ row: PlanRow) throws {
        let smaller = "Take smaller rewards, coefficients or values."
        let columns: [(String, [Float]?, String)] = [
            ("advantages", row.advantages, smaller), ("token_weights", row.tokenWeights, smaller),
            ("returns", row.returns, smaller),
            ("kl_weights", row.klWeights, smaller), ("entropy_weights", row.entropyWeights, smaller),
            ("auxiliary_weights", row.auxiliaryWeights, smaller),
            ("old_logprobs", row.oldLogprobs, TokenColumn.oldLogprobs.remedy),
            ("reference_logprobs", row.referenceLogprobs, TokenColumn.referenceLogprobs.remedy),
            ("values", row.values, TokenColumn.values.remedy), ("reward", [row.reward], smaller),
        ]
        for (name, values, remedy) in columns {
            let mask = name == "reward" ? [true] : row.lossMask
            guard let values, let bad = mask.firstNotFinite(values) else { continue }
            throw StageError(
                .invalidInput,
                "\(directory): rollout '\(row.rolloutID)': found \(name) \(values[bad]) at position \(bad), expected a number "
                    + "that float32 can hold. \(remedy)")
        }
    }

    private func floats(_ values: [Double]) -> [Float] {
        [Float](unsafeUninitializedCapacity: values.count) { target, count in
            values.withUnsafeBufferPointer { for index in 0..<$0.count { target[index] = Float($0[index]) } }
            count = values.count
        }
    }
}
