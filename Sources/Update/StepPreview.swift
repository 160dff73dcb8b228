import Credit
import Formats
import Models
import Objectives
import Recipes

/// What a step must know of the policy as it stands before any gradient: a mask made anew, tokens that an objective
/// treats apart. Both look at the step as a whole, so that micro-batches can't change them.
struct StepPreview {
    /// Factors on the planned weights, [L] per row; nil leaves them.
    let factors: [[Double]]?
    let selected: [[Bool]]?
    /// Where its weights hang on the factors.
    private let bonus: EntropyBonus?
    /// Held against the policy as it stands.
    private let teacher: TeacherTerm?
    /// Tokens of the step that the factors keep.
    private let kept: Int

    /// Of a step of which nothing must be known beforehand.
    init(_ recipe: Recipe) {
        (factors, selected, bonus, kept) = (nil, nil, nil, 0)
        teacher = recipe.credit.teacher
    }

    static func isNeeded(_ recipe: Recipe) -> Bool {
        recipe.objective.selectsTokens || recipe.credit.mask?.policy == .current
    }

    /// `scores`: of the rows, by the policy as it stands.
    init(_ rows: [PlanRow], _ scores: [SequenceScores], _ recipe: Recipe, seed: UInt64) {
        factors = recipe.credit.currentMask(
            zip(rows, scores).map { CurrentRow(groupID: $0.groupID, mask: $0.lossMask, entropy: $1.entropy) },
            seed: seed)
        let teacher = recipe.credit.teacher
        selected =
            recipe.objective.selectsTokens
            ? recipe.objective.selection(
                zip(rows, scores).map { SequenceInputs($0, outputs: $1.outputs).taught($0, by: teacher) }, seed: seed)
            : nil
        self.teacher = teacher
        bonus = recipe.loss.bonus
        kept = factors?.reduce(0) { $0 + $1.count { $0 != 0 } } ?? 0
    }

    /// The row's inputs with what was found out laid over them.
    func inputs(_ row: PlanRow, at index: Int, outputs: [Float] = []) -> SequenceInputs {
        var inputs = SequenceInputs(row, outputs: outputs).taught(row, by: teacher)
        if let factors { inputs.weights = zip(inputs.weights, factors[index]).map { Float(Double($0) * $1) } }
        inputs.selected = selected?[index]
        if let factors, bonus?.tokens == .kept { inputs.entropyWeights = entropyWeights(row, factors[index]) }
        return inputs
    }

    /// A bonus on tokens that a mask keeps goes with the mask that was made anew.
    private func entropyWeights(_ row: PlanRow, _ factors: [Double]) -> [Float]? {
        row.entropyWeights.map { planned in
            zip(planned, factors).map { weight, factor in
                factor == 0 ? 0 : bonus?.weights == .policy ? Float(Double(weight) * factor) : Float(1 / Double(kept))
            }
        }
    }
}

extension SequenceInputs {
    /// The same with another mask.
    func masked(_ mask: [Bool]) -> SequenceInputs {
        var inputs = self
        inputs.mask = mask
        return inputs
    }

    /// The same where a teacher is held against the policy as it stands. Outputs are its log-probabilities; without
    /// them nothing is known of it yet.
    fileprivate func taught(_ row: PlanRow, by teacher: TeacherTerm?) -> SequenceInputs {
        guard let teacher, teacher.policy == .current, row.teacherLogprobs != nil, !outputs.isEmpty else { return self }
        var inputs = self
        inputs.advantages = teacher.caughtUp(advantages, old: oldLogprobs, now: outputs, mask: mask)
        return inputs
    }

    init(_ row: PlanRow, outputs: [Float]) {
        self.init(
            logprobs: outputs, oldLogprobs: row.oldLogprobs, advantages: row.advantages, weights: row.tokenWeights,
            mask: row.lossMask,
            referenceLogprobs: row.referenceLogprobs, klWeights: row.klWeights)
        (entropyWeights, auxiliaryWeights) = (row.entropyWeights, row.auxiliaryWeights)
        samplerLogprobs = row.rolloutLogprobs
        returns = row.returns
        oldValues = row.values
        reward = Double(row.reward)
    }
}
