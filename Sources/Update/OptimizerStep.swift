import Files
import Formats
import Foundation
import Gang
import Models
import Objectives
import Optimizers
import Recipes
import Tensors

/// One optimizer step: gradients summed over the step's rollouts in micro-batches, clipped, applied.
struct OptimizerStep {
    let training: any Training
    let recipe: Recipe
    let gradients: Buffer
    let question: ModelOutputKind
    let seed: UInt64
    let headRows: Int
    let space: any Allocator
    /// Where activations go that aren't kept; nil: they are computed again.
    let store: (any ActivationStore)?
    /// Whether the moments take the place of the passes' arrays: those are given back before the moments come.
    let momentsFollowPasses: Bool
    /// Who computes the step.
    let gang: any Gang

    private var model: LanguageModel { training.model }

    /// Runs the step on `rows`, cut into micro-batches of their units for each rank (`shares`), and moves `state` on.
    /// `progress`: after each of this rank's batches, with its loss so far; `ratios`: when all gradients are there and
    /// nothing has moved yet.
    func run(
        _ rows: [PlanRow], _ shares: [[MicroBatch]], _ state: TrainingState,
        progress: (MicroBatch, Double) throws -> Void,
        ratios: (FirstRatios) throws -> Void = { _ in }
    ) throws -> MetricsRow {
        let start = Date()
        let compute = Compute(threads: model.threads)
        compute.zero(gradients)
        let units = rowUnits(rows), preview = try self.preview(rows, units, shares, state)
        let asked = EvaluatedTokens(
            rows.indices.map { preview.inputs(rows[$0], at: $0) }, recipe, model.architecture,
            seed: askedSeed(rows, seed))
        let bonus = recipe.loss.bonus.map { AppliedBonus($0, state.entropyControl) }
        let load = ExpertLoad(model.architecture)
        let own = try gang.together {
            var totals = StepTotals()
            for batch in shares[gang.rank] {
                try accumulate(batch, units, rows, preview, asked, bonus, load, &totals)
                try progress(batch, totals.lossSoFar)
            }
            return totals
        }
        let totals = Self.sum(try gang.gather(own))
        try load?.share(gang)
        // Why ratios are off is looked for in further passes, which are no part of the step.
        let pause = Date()
        try gang.together { try ratios(totals.ratios) }
        let paused = Date().timeIntervalSince(pause)
        if momentsFollowPasses { space.rest() }
        try gang.sumSlices(gradients)
        let norm = try self.norm(compute)
        try gang.together {
            try requireFinite("gradient", norm, "a norm of", state)
            try requireFinite("loss", totals.lossSoFar, "", state)
        }
        state.step += 1
        let scale = recipe.optimizer.gradientScale(norm: norm)
        try gang.together { try apply(state, scale: scale) }
        try gang.shareSlices(state.parameters)
        moveTarget(state)
        if let bonus { state.entropyControl = bonus.control(after: totals) }
        let seconds = Date().timeIntervalSince(start) - paused
        var metrics = totals.metrics(step: state.step, norm: norm, seconds: seconds, recipe.loss)
        if let bonus {
            (metrics.entropyCoef, metrics.entropyCoefApplied) = (state.entropyControl?.coef, bonus.coefficient)
        }
        if let load { metrics.add(load) }
        return metrics
    }

    /// In the order of ranks.
    private static func sum(_ totals: [StepTotals]) -> StepTotals {
        var sum = totals[0]
        for other in totals.dropFirst() { sum.add(other) }
        return sum
    }

    /// Of the whole gradient, whose slices are summed in the order of ranks.
    private func norm(_ compute: Compute) throws -> Double {
        let own = Slices(of: gradients.count, ranks: gang.size)[gang.rank]
        let part = UnsafeMutableBufferPointer(start: gradients.pointer + own.lowerBound, count: own.count)
        return try gang.gather(compute.squaredNorm(part)).reduce(0, +).squareRoot()
    }

    private func requireFinite(_ place: String, _ value: Double, _ what: String, _ state: TrainingState) throws {
        guard !value.isFinite else { return }
        throw FormatError(
            file: "step \(state.step + 1)", place: place,
            found: [what, "\(value)"].filter { !$0.isEmpty }.joined(separator: " "),
            expected: "a finite number",
            remedy:
                "Look for NaN in the checkpoint's weights and for extremes in plan.arrow, or lower the learning rate."
        )
    }

    /// How far these rows' old_logprobs are from the policy as it stands, with their own temperature or another.
    func ratios(of rows: [PlanRow], temperature: Float? = nil) throws -> FirstRatios {
        var ratios = FirstRatios()
        // One by one: no more memory than the step's own passes were given.
        for row in rows {
            let query = SequenceQuery(
                tokenIDs: row.tokenIDs, wanted: row.lossMask, temperature: temperature ?? row.temperature,
                supports: row.support?.byPosition(row.lossMask), routes: routes(row))
            guard let scores = try model.score([query], in: space).first else { continue }
            for t in row.lossMask.indices where row.lossMask[t] {
                ratios.add(scores.logprobs[t], old: row.oldLogprobs[t])
            }
        }
        return ratios
    }

    private func query(_ row: PlanRow, wanted: [Bool]) -> SequenceQuery {
        let bonuses = recipe.objective.boltzmann.map { settings in row.advantages.map { settings.bonus(advantage: $0) }
        }
        return SequenceQuery(
            tokenIDs: row.tokenIDs, wanted: wanted, temperature: row.temperature, bonuses: bonuses,
            supports: row.support?.byPosition(row.lossMask), routes: routes(row))
    }

    /// The sampler's experts are the policy's; a critic and a Q network go their own ways.
    private func routes(_ row: PlanRow) -> RoutedExperts? { recipe.objective.output.isOfPolicy ? row.routes : nil }

    /// A forward pass over the whole step, for what must be known before the first gradient.
    private func preview(_ rows: [PlanRow], _ units: [[Int]], _ shares: [[MicroBatch]], _ state: TrainingState) throws
        -> StepPreview
    {
        guard StepPreview.isNeeded(recipe) else { return StepPreview(recipe) }
        var scores = StepScores(rows.map(\.tokenIDs.count))
        try gang.together {
            for batch in shares[gang.rank] {
                let members = batch.units.flatMap { units[$0] }
                let queries = members.map { query(rows[$0], wanted: rows[$0].lossMask) }
                for (row, found) in zip(members, try model.score(queries, in: space)) { scores[row] = found }
            }
        }
        let members = shares.map { $0.flatMap(\.units).flatMap { units[$0] } }
        try scores.share(members, gang)
        return StepPreview(rows, scores.all, recipe, seed: seed &+ UInt64(state.step))
    }

    private func accumulate(
        _ batch: MicroBatch, _ units: [[Int]], _ rows: [PlanRow], _ preview: StepPreview, _ asked: EvaluatedTokens,
        _ bonus: AppliedBonus?, _ load: ExpertLoad?, _ totals: inout StepTotals
    ) throws {
        let own = batch.units.map { units[$0] }, unitAt = Self.unitsByStart(own)
        try model.accumulateScoreGradients(
            own.joined().map { query(rows[$0], wanted: asked.wanted($0)) }, units: own.map(\.count),
            into: training.gradients(into: gradients), question,
            memory: PassMemory(keptLayers: batch.keptLayers, store: store, headRows: headRows, space: space), load: load
        ) { part, scores in
            var gradients: [ScoreDerivatives] = [], next = part.lowerBound
            while next < part.upperBound {
                guard let unit = unitAt[next] else { break }
                gradients += derivatives(
                    unit, rows, Array(scores[next - part.lowerBound..<next - part.lowerBound + unit.count]), preview,
                    asked, bonus, &totals)
                next += unit.count
            }
            return gradients
        }
    }

    /// Units of a batch by where their first member stands in it.
    private static func unitsByStart(_ batch: [[Int]]) -> [Int: [Int]] {
        var units: [Int: [Int]] = [:], next = 0
        for unit in batch {
            units[next] = unit
            next += unit.count
        }
        return units
    }

    private func derivatives(
        _ unit: [Int], _ rows: [PlanRow], _ scores: [SequenceScores], _ preview: StepPreview, _ asked: EvaluatedTokens,
        _ bonus: AppliedBonus?, _ totals: inout StepTotals
    ) -> [ScoreDerivatives] {
        let inputs = zip(unit, scores).map { index, scores in
            var inputs = preview.inputs(rows[index], at: index, outputs: scores.outputs)
            inputs.tokenLogprobs = scores.tokenLogprobs
            return inputs
        }
        let read = zip(unit, inputs).map { $1.masked(asked.trained[$0]) },
            sampled = zip(unit, inputs).map { $1.masked(asked.sampled[$0]) }
        var gradients = unit.map { [Float](repeating: 0, count: rows[$0].tokenIDs.count) }
        totals.add(recipe.loss.evaluate(unit: read, gradients: &gradients), times: 1)
        for (position, index) in unit.enumerated() {
            totals.add(rows[index])
            addTokens(asked.trained[index], rows[index], scores[position], times: 1, &totals)
            addTokens(asked.sampled[index], rows[index], scores[position], times: asked.inverseSamplingRate, &totals)
        }
        // Without weight they add to no derivative: what is clipped among them is counted.
        if sampled.contains(where: { $0.mask.contains(true) }) {
            totals.add(
                recipe.objective.evaluate(unit: sampled, gradients: &gradients), times: asked.inverseSamplingRate)
        }
        guard let bonus else { return gradients.map { ScoreDerivatives(outputs: $0) } }
        return gradients.indices.map { position in
            let term = bonus.term(read[position], scores[position].entropy)
            totals.add(term)
            return ScoreDerivatives(outputs: gradients[position], entropy: term.derivatives)
        }
    }

    /// target ← decay · target + (1 - decay) · parameters
    private func moveTarget(_ state: TrainingState) {
        guard let target = state.target, let decay = recipe.objective.targetDecay else { return }
        let slow = target.own.pointer, parameters = state.parameters.pointer + target.range.lowerBound
        for i in 0..<target.own.count {
            slow[i] = Float(decay * Double(slow[i]) + (1 - decay) * Double(parameters[i]))
        }
    }

    /// Whether ratios between the policy and the sampler's have a part in the loss.
    private var comparesPolicies: Bool { recipe.loss.readsOldLogprobs && recipe.objective.output == .logprob }

    private func addTokens(
        _ mask: [Bool], _ row: PlanRow, _ scores: SequenceScores, times: Double, _ totals: inout StepTotals
    ) {
        if times == 1, comparesPolicies {
            for t in mask.indices where mask[t] { totals.addRatio(scores.logprobs[t], old: row.oldLogprobs[t]) }
        }
        let anchor = row.referenceLogprobs ?? (recipe.loss.readsOldLogprobs ? row.oldLogprobs : scores.logprobs)
        for t in mask.indices where mask[t] {
            let klK3 =
                recipe.objective.output == .logprob
                ? K3.evaluate(Double(scores.logprobs[t]) - Double(anchor[t])).value : 0
            totals.addToken(entropy: scores.entropy[t], klK3: klK3, times: times)
        }
    }

    /// Moves what this rank holds the moments of.
    private func apply(_ state: TrainingState, scale: Double) throws {
        let compute = Compute(threads: model.threads)
        try state.moments.forEachRange { range, first, second in
            let parameters = state.parameters.pointer + range.lowerBound,
                gradients = gradients.pointer + range.lowerBound
            compute.forEachPiece(of: range.count) { _, piece in
                recipe.optimizer.update(
                    parameters: parameters + piece.lowerBound, gradients: gradients + piece.lowerBound,
                    expAvg: first + piece.lowerBound, expAvgSq: second + piece.lowerBound, count: piece.count,
                    step: state.step, gradientScale: scale)
            }
        }
    }
}

extension ExpertLoad {
    /// Adds what the other ranks counted.
    fileprivate func share(_ gang: any Gang) throws {
        let own = counts + [tokens, replayed]
        for (rank, other) in try gang.gather(list: own).enumerated() where rank != gang.rank {
            add(counts: Array(other.dropLast(2)), tokens: other[other.count - 2], replayed: other[other.count - 1])
        }
    }
}

extension MetricsRow {
    fileprivate mutating func add(_ load: ExpertLoad) {
        expertImbalance = load.imbalance
        expertsIdle = load.idleShare
        expertsReplayed = load.replayedShare
    }
}

/// An entropy bonus with the coefficient that the step at hand applies.
private struct AppliedBonus {
    private let bonus: EntropyBonus
    private let before: EntropyControl
    let coefficient: Double

    /// `control`: where it stands; nil at the beginning.
    init(_ bonus: EntropyBonus, _ control: EntropyControl?) {
        let before = control ?? EntropyControl(coef: bonus.coef)
        (self.bonus, self.before, coefficient) = (bonus, before, before.applied(bonus))
    }

    func term(_ sequence: SequenceInputs, _ entropies: [Float]) -> EntropyTerm {
        bonus.evaluate(sequence, entropies: entropies, coefficient: coefficient)
    }

    func control(after totals: StepTotals) -> EntropyControl {
        var control = before
        control.move(bonus, entropy: totals.bonusEntropy)
        return control
    }
}
