import Formats
import Foundation
import Models
import Objectives
import Optimizers
import Recipes
import Tensors

/// One optimizer step: gradients summed over the step's rollouts in micro-batches, clipped, applied.
struct OptimizerStep {
    let model: LanguageModel
    let recipe: Recipe
    let gradients: Buffer

    /// Activations of a micro-batch stay below this many floats (4 GiB).
    private static let activationFloats = 1 << 30

    /// What a step has seen so far, for its metrics.
    private struct Totals {
        var loss = SequenceLoss()
        var klLoss = 0.0
        var klK3 = 0.0
        var entropy = 0.0
        var weighted = 0
        var trainable = 0
        var reward = 0.0
        var rows = 0
    }

    /// Runs the step on `rows` and moves `state` on.
    func run(_ rows: [PlanRow], _ state: TrainingState) throws -> MetricsRow {
        let start = Date()
        gradients.zero()
        var totals = Totals()
        for batch in microBatches(rows) { try accumulate(batch, &totals) }
        let norm = sqrt(squaredNorm(gradients.pointer, count: gradients.count))
        try requireFinite(norm, state)
        state.step += 1
        apply(state, scale: recipe.optimizer.gradientScale(norm: norm))
        return metrics(totals, step: state.step, norm: norm, seconds: Date().timeIntervalSince(start))
    }

    private func requireFinite(_ norm: Double, _ state: TrainingState) throws {
        guard !norm.isFinite else { return }
        throw FormatError(
            file: "step \(state.step + 1)", place: "gradient", found: "a norm of \(norm)", expected: "a finite number",
            remedy: "Look for extreme advantages or log-probabilities in plan.arrow, or lower the learning rate.")
    }

    /// Consecutive rows while their tokens fit; neighbours share prompts, so groups stay together.
    private func microBatches(_ rows: [PlanRow]) -> [ArraySlice<PlanRow>] {
        let limit = max(1, Self.activationFloats / model.activationFloatsPerToken)
        var batches: [ArraySlice<PlanRow>] = [], start = 0, tokens = 0
        for (index, row) in rows.enumerated() {
            if index > start, tokens + row.tokenIDs.count > limit {
                batches.append(rows[start..<index])
                (start, tokens) = (index, 0)
            }
            tokens += row.tokenIDs.count
        }
        if start < rows.count { batches.append(rows[start...]) }
        return batches
    }

    private func accumulate(_ rows: ArraySlice<PlanRow>, _ totals: inout Totals) throws {
        let rows = Array(rows)
        let queries = rows.map { SequenceQuery(tokenIDs: $0.tokenIDs, wanted: $0.lossMask, temperature: $0.temperature) }
        try model.accumulateGradients(queries, into: gradients) { scores in
            zip(rows, scores).map { row, scores in derivative(row, scores, &totals) }
        }
    }

    private func derivative(_ row: PlanRow, _ scores: SequenceScores, _ totals: inout Totals) -> [Float] {
        let inputs = SequenceInputs(
            logprobs: scores.logprobs, oldLogprobs: row.oldLogprobs, advantages: row.advantages, weights: row.tokenWeights, mask: row.lossMask,
            referenceLogprobs: row.referenceLogprobs, klWeights: row.klWeights)
        var gradient = [Float](repeating: 0, count: row.tokenIDs.count)
        totals.loss += recipe.objective.evaluate(inputs, gradient: &gradient)
        totals.klLoss += recipe.kl.evaluate(inputs, gradient: &gradient)
        totals.reward += Double(row.reward)
        totals.rows += 1
        addTokens(row, scores, &totals)
        return gradient
    }

    private func addTokens(_ row: PlanRow, _ scores: SequenceScores, _ totals: inout Totals) {
        let anchor = row.referenceLogprobs ?? (recipe.objective.readsOldLogprobs ? row.oldLogprobs : scores.logprobs)
        for t in row.lossMask.indices where row.lossMask[t] {
            totals.trainable += 1
            totals.klK3 += KLEstimator.k3.evaluate(Double(scores.logprobs[t]) - Double(anchor[t])).value
            totals.entropy += Double(scores.entropy[t])
        }
    }

    private func apply(_ state: TrainingState, scale: Double) {
        // Pieces of a fixed size: parallel, and the same bytes for any thread count.
        let compute = Compute(threads: model.threads), pieces = 1 << 20
        compute.forEachBlock(rows: state.parameters.count, blockRows: pieces) { _, range in
            recipe.optimizer.update(
                parameters: state.parameters.pointer + range.lowerBound, gradients: gradients.pointer + range.lowerBound,
                expAvg: state.expAvg.pointer + range.lowerBound, expAvgSq: state.expAvgSq.pointer + range.lowerBound, count: range.count,
                step: state.step, gradientScale: scale)
        }
    }

    private func metrics(_ totals: Totals, step: Int, norm: Double, seconds: Double) -> MetricsRow {
        let tokens = Double(max(1, totals.trainable))
        var row = MetricsRow()
        row.step = Int32(step)
        row.loss = totals.loss.loss + totals.klLoss
        row.gradNorm = norm
        row.clipFractionLow = Double(totals.loss.clippedLow) / tokens
        row.clipFractionHigh = Double(totals.loss.clippedHigh) / tokens
        row.importanceRatioMax = totals.loss.largestRatio
        row.klK3 = totals.klK3 / tokens
        row.entropy = totals.entropy / tokens
        row.rewardMean = totals.reward / Double(max(1, totals.rows))
        row.trainableTokens = Int64(totals.trainable)
        row.seconds = seconds
        return row
    }
}
