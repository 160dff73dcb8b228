import Credit
import Formats
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
        row.temperature = source.rollout.temperature
        row.step = Int32(credit.step)
        row.reward = Float(credit.reward)
        row.evidence = source.evidence
        try requireFinite(row)
        return row
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
            ("kl_weights", row.klWeights, smaller), ("old_logprobs", row.oldLogprobs, TokenColumn.oldLogprobs.remedy),
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
