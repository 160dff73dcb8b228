import Foundation
import Objectives
import TestSupport
import Testing

/// Losses of single tokens and of whole rows, by the numbers that were worked out for them.
@Suite struct MethodTests {
    /// A row of these log-ratios, all tokens of weight 1.
    private func row(_ differences: [Double], _ advantages: [Double], weight: Float = 1, reward: Double = 0)
        -> SequenceInputs
    {
        let old = differences.map { _ in Float(-1) }
        var inputs = SequenceInputs(
            logprobs: zip(old, differences).map { Float(Double($0) + $1) }, oldLogprobs: old,
            advantages: advantages.map { Float($0) }, weights: differences.map { _ in weight },
            mask: differences.map { _ in true })
        inputs.reward = reward
        return inputs
    }

    private func evaluate(_ objective: any Objective, _ inputs: SequenceInputs) -> (loss: Double, gradient: [Double]) {
        var gradient = [Float](repeating: 0, count: inputs.mask.count)
        let loss = objective.evaluate(inputs, gradient: &gradient).loss
        return (loss, gradient.map { Double($0) })
    }

    /// One token at a time: its loss and derivative.
    private func token(_ objective: any Objective, _ advantage: Double, ratio: Double) -> (loss: Double, slope: Double)
    {
        let result = evaluate(objective, row([log(ratio)], [advantage]))
        return (result.loss, result.gradient[0])
    }

    private func expect(_ found: [Double], _ expected: [Double], _ comment: String = "") {
        #expect(firstDifference(found, expected, absolute: 2e-6) == nil, "\(comment): \(found) against \(expected)")
    }

    @Test func sapoGatesInPlaceOfAClip() {
        let ratios = [1, 1.5, 0.5, 3]
        let up = ratios.map { token(SAPO(), 1, ratio: $0) }, down = ratios.map { token(SAPO(), -1, ratio: $0) }
        expect(up.map(\.loss), [-2, -2.489837, -1.510163, -3.523188])
        expect(up.map(\.slope), [-1, -1.410022, -0.470007, -1.259923])
        expect(down.map(\.loss), [1.904762, 2.393585, 1.415938, 3.393917])
        expect(down.map(\.slope), [1, 1.401210, 0.467070, 1.166336])
        // Beyond every bound of the ratio: a finite value and no derivative.
        let far = evaluate(SAPO(), row([500], [1]))
        #expect(isClose(far.loss, -4, absolute: 1e-6) && far.gradient == [0])
    }

    private func probabilities(_ old: [Double], _ new: [Double], _ advantages: [Double]) -> SequenceInputs {
        SequenceInputs(
            logprobs: new.map { Float(log($0)) }, oldLogprobs: old.map { Float(log($0)) },
            advantages: advantages.map { Float($0) }, weights: old.map { _ in 1 }, mask: old.map { _ in true })
    }

    @Test func dppoMeasuresProbabilitiesInPlaceOfRatios() {
        let inputs = probabilities([0.5, 0.1, 0.6], [0.6, 0.35, 0.3], [1, 1, -1])
        expect(evaluate(DPPO(), inputs).gradient, [-1.2, 0, 0])
        var objective = DPPO()
        objective.divergence = .kl
        for (threshold, expected) in [(0.05, [-1.2, 0, 0]), (0.2, [-1.2, -3.5, 0.5])] {
            (objective.low, objective.high) = (threshold, threshold)
            expect(evaluate(objective, inputs).gradient, expected, "KL \(threshold)")
        }
        // Between the divergences of the tokens, .020411, .167604 and .192042, each threshold keeps one more.
        for (threshold, kept) in [(0.0204, 0), (0.02042, 1), (0.1676, 1), (0.16761, 2), (0.19204, 2), (0.19205, 3)] {
            (objective.low, objective.high) = (threshold, threshold)
            #expect(evaluate(objective, inputs).gradient.count { $0 != 0 } == kept, "\(threshold)")
        }
        objective.cap = 3
        expect(evaluate(objective, inputs).gradient, [-1.2, -3, 0.5], "capped")
    }

    @Test func dppoWithASquareIsPrimesLoss() {
        var objective = DPPO()
        (objective.cap, objective.squared) = (nil, 1e-3)
        let inputs = probabilities([0.5, 0.1, 0.6], [0.6, 0.35, 0.3], [1, 1, -1])
        let tokens = inputs.mask.indices.map { t in
            var one = inputs
            one.weights = inputs.mask.indices.map { $0 == t ? 1 : 0 }
            return evaluate(objective, one).loss
        }
        expect(tokens, [-1.199967, 0.001569, 0.000480])
        expect(evaluate(objective, inputs).gradient, [-1.199635, 0.002506, -0.001386])
    }

    @Test func gmpoClipsLogRatiosOnOneSideAndSharesTheirMean() {
        let up = evaluate(GMPO(), row([0.6, -0.1, -0.7], [1, 1, 1], weight: 1 / 3))
        expect([up.loss], [-0.875173])
        expect(up.gradient, [0, -0.291724, -0.291724])
        let down = evaluate(GMPO(), row([0.6, -0.1, -0.7], [-1, -1, -1], weight: 1 / 3))
        expect([down.loss], [1.033895])
        expect(down.gradient, [0.344632, 0.344632, 0])
        // Tokens that a mask leaves out have no part in the mean; the row weighs what it did.
        var masked = row([0.6, -0.1, -0.7], [1, 1, 1], weight: 1 / 3)
        masked.weights[0] = 0
        let kept = evaluate(GMPO(), masked)
        expect([kept.loss], [-exp(-0.4)])
        expect(kept.gradient, [0, -exp(-0.4) / 2, -exp(-0.4) / 2])
    }

    @Test func vespoWeighsByTheWholeSequence() {
        func weight(_ sum: Double, _ advantage: Double) -> Double {
            evaluate(VESPO(), row([sum / 2, sum / 2], [advantage, advantage])).gradient[0] / -advantage
        }
        expect([weight(0.15, 1), weight(1.5, 1), weight(0, 1)], [0.830687, 0.000584, 1])
        expect([weight(-0.2, -1), weight(-2, -1), weight(0, -1)], [0.788627, 0.013972, 1])
        // l = -A φ lp, φ standing still.
        let inputs = row([0.1, 0.05], [1, 1]), result = evaluate(VESPO(), inputs)
        expect([result.loss], [-0.830687 * (Double(inputs.logprobs[0]) + Double(inputs.logprobs[1]))])
        #expect(evaluate(VESPO(), row([50, 50], [1, 1])).gradient == [0, 0])
    }

    @Test func luspoIsGspoWithSumsOfSequences() {
        var objective = GSPO()
        (objective.clipLow, objective.clipHigh) = (0.2, 0.2)
        let up = evaluate(objective, row([0.2, -0.1, 0.05], [1, 1, 1]))
        expect([up.loss], [-3.153813])
        expect(up.gradient, [-1.051271, -1.051271, -1.051271])
        let down = evaluate(objective, row([0.2, -0.4], [-1, -1]))
        expect([down.loss], [1.809675])
        expect(down.gradient, [0.904837, 0.904837])
    }

    @Test func toprTapersWhatWasWrong() {
        let right = evaluate(TOPR(), row([log(1.4), log(0.3)], [0.5, 0.5], reward: 1)),
            wrong = row([log(1.4), log(0.3)], [-0.5, -0.5])
        expect(right.gradient, [-0.5, -0.5])
        expect(evaluate(TOPR(), wrong).gradient, [0.5, 0.15])
        var whole = TOPR()
        whole.level = .sequenceSum
        expect(evaluate(whole, wrong).gradient, [0.5 * 0.42, 0.5 * 0.42])
        expect([evaluate(TOPR(), wrong).loss], [0.5 * Double(wrong.logprobs[0]) + 0.15 * Double(wrong.logprobs[1])])
    }

    @Test func droPullsBackBySquares() {
        expect(evaluate(DRO(), row([0.5, -0.5], [1, 1])).gradient, [-0.95, -1.05])
    }

    @Test func fipoWeighsTokensByTheirFuture() {
        // exp F = exp(-.047834), exp(-.151071), exp(.05), bounded below by 1 and then by .8.
        let inputs = row([0.1, -0.2, 0.05], [1, 1, 1]), ratios = [0.1, -0.2, 0.05].map(exp)
        expect(evaluate(FIPO(), inputs).gradient, zip(ratios, [1, 1, 1.051271]).map { -$0 * $1 })
        var wide = FIPO()
        wide.weightLow = 0.8
        expect(evaluate(wide, inputs).gradient, zip(ratios, [0.953292, 0.859786, 1.051271]).map { -$0 * $1 })
        // A token far above the old policy and wrong is weighed within .8 and 1; with delta it adds to no F.
        let far = row([1.5, 0.1], [-1, -1]), ratio = exp(1.5)
        expect(evaluate(FIPO(), far).gradient, [ratio, exp(0.1) * exp(0.1)])
        wide.delta = 2
        expect(evaluate(wide, far).gradient, [ratio, exp(0.1) * exp(0.1)])
        expect(evaluate(wide, row([0.1, 1.1], [1, 1])).gradient, [-exp(0.1) * exp(0.1), 0], "delta")
    }

    @Test func ceGppoKeepsABoundedGradientWherePPOHasNone() {
        let cases = [(1.0, 1.5, -1.28), (1, 0.5, -0.5), (-1, 0.5, 0.6), (-1, 1.5, 1.5), (-1, 4, 0)]
        for (advantage, ratio, slope) in cases {
            let found = token(CEGPPO(), advantage, ratio: ratio)
            expect([found.slope], [slope], "\(advantage) \(ratio)")
            if ratio < 3 { expect([found.loss], [slope], "\(advantage) \(ratio)") }
        }
        // Without its two shares it is PPO.
        var none = CEGPPO(), plain = PPOClip()
        (none.betaLow, none.betaHigh, plain.clipHigh, plain.clipDual) = (0, 0, 0.28, 3)
        for advantage in [-1.0, 1] {
            for ratio in [0.3, 0.9, 1.2, 1.4, 5] {
                #expect(token(none, advantage, ratio: ratio).slope == token(plain, advantage, ratio: ratio).slope)
            }
        }
    }

    @Test func statesOfADistillationAreWeighedByTheirTokens() {
        var objective = Distill(), inputs = row([0, 0, 0], [0, 0, 0])
        (inputs.outputs, inputs.oldLogprobs) = ([0.5, 0.25, 2], [-1, -1, -1])
        inputs.tokenLogprobs = [-1 + Float(log(1.5)), -1 + Float(log(4.0)), -1 - Float(log(2.0))]
        expect(evaluate(objective, inputs).gradient, [1, 1, 1])
        #expect(!objective.readsOldLogprobs)
        objective.importanceCap = 2
        let found = evaluate(objective, inputs)
        expect(found.gradient, [1.5, 2, 0.5])
        expect([found.loss], [1.5 * 0.5 + 2 * 0.25 + 0.5 * 2])
        #expect(objective.readsOldLogprobs)
    }

    // MARK: terms of any objective

    private func evaluate(_ loss: TrainingLoss, _ inputs: SequenceInputs) -> (loss: SequenceLoss, gradient: [Double]) {
        var gradients = [[Float](repeating: 0, count: inputs.mask.count)]
        let result = loss.evaluate(unit: [inputs], gradients: &gradients)
        return (result, gradients[0].map { Double($0) })
    }

    @Test(arguments: [StaleRows.Anchor.trainer, .sampler]) func staleRowsAreLeftOut(_ anchor: StaleRows.Anchor) {
        func inputs(_ advantage: Float) -> SequenceInputs {
            var inputs = SequenceInputs(
                logprobs: [-0.9, -1.1, -0.3], oldLogprobs: [-0.5, -1, -0.2],
                advantages: [advantage, advantage, advantage], weights: [1, 1, 1], mask: [true, true, true])
            if anchor == .sampler {
                inputs.samplerLogprobs = inputs.oldLogprobs
                inputs.oldLogprobs = inputs.logprobs
            }
            return inputs
        }
        var loss = TrainingLoss()
        for (threshold, isDropped) in [(0.19, true), (0.21, false)] {
            var stale = StaleRows()
            (stale.threshold, stale.against) = (threshold, anchor)
            loss.staleRows = stale
            let wrong = evaluate(loss, inputs(-1)), right = evaluate(loss, inputs(1))
            #expect((wrong.loss.loss == 0) == isDropped && (wrong.gradient == [0, 0, 0]) == isDropped)
            #expect(wrong.loss.staleRows == (isDropped ? 1 : 0))
            #expect(right.loss.loss != 0 && right.loss.staleRows == 0)
        }
        // Log-probabilities that a sampler could not give count as none.
        guard anchor == .sampler else { return }
        var unknown = inputs(-1)
        unknown.samplerLogprobs = [.nan, .nan, .nan]
        #expect(evaluate(loss, unknown).loss.staleRows == 0)
    }

    @Test func theKLOfAStaleRowStays() {
        var loss = TrainingLoss(), inputs = row([-0.9, -0.9], [-1, -1])
        loss.staleRows = StaleRows()
        loss.staleRows?.against = .trainer
        loss.kl.coef = 0.5
        (inputs.referenceLogprobs, inputs.klWeights) = ([-1, -1], [1, 1])
        let result = evaluate(loss, inputs)
        expect([result.loss.loss], [2 * 0.5 * (exp(0.9) - 0.9 - 1)])
    }

    @Test func weightedEstimatesAreTheWorkedNumbers() {
        let differences = [0.223144, -0.405465, 0.1], logRatios = [0.2, -0.1, 0]
        var inputs = row(logRatios, [0, 0, 0])
        inputs.referenceLogprobs = zip(inputs.logprobs, differences).map { Float(Double($0) - $1) }
        inputs.klWeights = [1, 1, 1]
        var penalty = KLPenalty()
        penalty.coef = 1
        func evaluate(_ weighted: KLWeighting) -> (loss: Double, gradient: [Double]) {
            var gradient = [Float](repeating: 0, count: 3)
            penalty.weighted = weighted
            let loss = penalty.evaluate(inputs, gradient: &gradient)
            return (loss, gradient.map { Double($0) })
        }
        expect(evaluate(.none).gradient, [0.2, -0.5, 0.095163])
        let ratio = evaluate(.ratio)
        expect([ratio.loss], [0.028268 + 0.085539 + 0.004837])
        expect(ratio.gradient, [0.272548, -0.366880, 0.1])
        let score = evaluate(.score)
        expect([score.loss], [evaluate(.none).loss])
        expect(score.gradient, differences)
    }

    /// The product first, then the bounds.
    @Test func weightedEstimatesAreBoundedAfterTheProduct() {
        var penalty = KLPenalty(), inputs = row([-1], [0])
        (penalty.coef, penalty.weighted) = (1, .ratio)
        (inputs.referenceLogprobs, inputs.klWeights) = ([1], [1])
        var gradient: [Float] = [0]
        // d = -3: k3 is 16.09, times exp(-1) 5.92, which no bound reaches.
        expect([penalty.evaluate(inputs, gradient: &gradient)], [exp(-1) * (exp(3) - 4)])
        expect([Double(gradient[0])], [-3 * exp(-1)])
        (inputs.referenceLogprobs, gradient) = ([3], [0])
        #expect(penalty.evaluate(inputs, gradient: &gradient) == 10 && gradient == [0])
    }

    /// Differences of r · k, r differentiated too.
    @Test(arguments: KLEstimatorRegistry.all.indices) func weightedEstimatesEqualCentralDifferences(_ index: Int) {
        let estimator = KLEstimatorRegistry.all[index]
        guard !estimator.isStraightThrough else { return }
        var penalty = KLPenalty()
        (penalty.coef, penalty.weighted, penalty.estimator) = (1, .ratio, KLChoice(estimator))
        func evaluate(_ logprob: Float) -> (value: Double, slope: Float) {
            var inputs = row([0], [0]), gradient: [Float] = [0]
            inputs.outputs = [logprob]
            (inputs.referenceLogprobs, inputs.klWeights) = ([-1.5], [1])
            return (penalty.evaluate(inputs, gradient: &gradient), gradient[0])
        }
        for logprob: Float in [-2.25, -1.25, -0.5] {
            let slope = (evaluate(logprob + 0x1p-9).value - evaluate(logprob - 0x1p-9).value) / 0x1p-8
            #expect(isClose(Double(evaluate(logprob).slope), slope, absolute: 2e-5), "\(estimator.name)")
        }
    }

    @Test func positiveExamplesHaveADenominatorOfTheirOwn() {
        var loss = TrainingLoss(), right = row([0, -1], [0, 0])
        loss.auxiliary = AuxiliaryLoss()
        right.auxiliaryWeights = [0.5, 0.5]
        let found = evaluate(loss, right)
        expect([found.loss.loss], [0.15])
        expect(found.gradient, [-0.05, -0.05])
        var wrong = row([0], [0])
        wrong.auxiliaryWeights = [0]
        #expect(evaluate(loss, wrong).gradient == [0])
        #expect(loss.reads(right) == [true, true])
    }

    /// Tokens outside of the mask, which have a log-probability only here.
    @Test func environmentTokensAreLearntBesideTheMask() {
        var loss = TrainingLoss(), sequence = row([-9, -9, -1, 0.5], [0, 0, 0, 0])
        loss.auxiliary = AuxiliaryLoss()
        loss.auxiliary?.type = .environmentNLL
        (sequence.mask, sequence.weights) = ([false, true, false, false], [0, 0, 0, 0])
        sequence.auxiliaryWeights = [0, 0, 0.05, 0.05]
        let found = evaluate(loss, sequence)
        expect([found.loss.loss], [0.125])
        expect(found.gradient, [0, 0, -0.05, -0.05])
        #expect(loss.reads(sequence) == [false, false, true, true])
    }

    // MARK: entropy

    @Test func theControllerIsAStepBehind() {
        var bonus = EntropyBonus()
        bonus.adaptive = AdaptiveEntropy()
        var control = EntropyControl(coef: 0), applied: [Double] = [], after: [Double] = []
        for entropy in [0.30, 0.19, 0.15, 0.25, 0.18] {
            applied.append(control.applied(bonus))
            control.move(bonus, entropy: entropy)
            after.append(control.coef)
        }
        expect(applied, [0, 0, 0.005, 0.010, 0])
        expect(after, [0, 0.005, 0.010, 0.005, 0.010])
        // Nothing acted on: nothing changes.
        let before = control
        control.move(bonus, entropy: nil)
        #expect(control == before)
        bonus.adaptive = nil
        bonus.coef = 0.3
        #expect(EntropyControl(coef: 0.3).applied(bonus) == 0.3)
    }

    @Test func aBonusIsTakenOffTheLoss() {
        var bonus = EntropyBonus(), inputs = row([0, 0, 0], [0, 0, 0])
        bonus.coef = 0.01
        inputs.entropyWeights = [1 / 3, 1 / 3, 1 / 3]
        let term = bonus.evaluate(inputs, entropies: [0.947537, 1.386294, 0.401501], coefficient: 0.01)
        expect([term.loss], [-0.009118])
        expect(term.derivatives.map { Double($0) }, [-0.01 / 3, -0.01 / 3, -0.01 / 3])
        #expect(term.tokens == 3 && isClose(term.entropy, 2.735332, absolute: 1e-6))
    }
}
