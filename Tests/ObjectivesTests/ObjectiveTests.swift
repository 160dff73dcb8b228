import Foundation
import Objectives
import TestSupport
import Testing

/// Every registered objective, held against central differences of its own loss.
@Suite struct ObjectiveRegistryTests {
    /// Ratios on both sides of every clip, both signs of advantage, masked tokens in between.
    private func sequence(seed: UInt64, length: Int = 24) -> SequenceInputs {
        var generator = SplitMix(seed: seed)
        func uniform(_ low: Double, _ high: Double) -> Float {
            Float(low + (high - low) * Double(generator.next() >> 11) / Double(1 << 53))
        }
        let mask = (0..<length).map { $0 > 2 && $0 % 7 != 0 }
        func perToken(_ make: () -> Float) -> [Float] { mask.map { $0 ? make() : 0 } }
        let old = perToken { uniform(-3, -0.1) }
        let current = zip(old, mask).map { old, trained in trained ? old + uniform(-1.2, 1.2) : 0 }
        var inputs = SequenceInputs(
            logprobs: current, oldLogprobs: old, advantages: perToken { uniform(-2, 2) },
            weights: perToken { uniform(0, 0.2) }, mask: mask,
            referenceLogprobs: perToken { uniform(-3, -0.1) })
        inputs.returns = perToken { uniform(-4, 2) }
        inputs.oldValues = perToken { uniform(-4, 2) }
        inputs.reward = 1
        inputs.selected = mask.indices.map { mask[$0] && $0 % 5 == 0 }
        return inputs
    }

    /// What an objective sees in one call: a sequence, or two where it reads pairs.
    private func unit(_ objective: any Objective, seed: UInt64) -> [SequenceInputs] {
        objective.readsPairs ? [sequence(seed: seed), sequence(seed: seed + 100, length: 17)] : [sequence(seed: seed)]
    }

    private func evaluate(_ objective: any Objective, unit: [SequenceInputs]) -> (loss: Double, gradients: [[Float]]) {
        var gradients = unit.map { [Float](repeating: 0, count: $0.mask.count) }
        return (objective.evaluate(unit: unit, gradients: &gradients).loss, gradients)
    }

    private func evaluate(_ objective: any Objective, _ sequence: SequenceInputs) -> (loss: Double, gradient: [Float]) {
        let result = evaluate(objective, unit: [sequence])
        return (result.loss, result.gradients[0])
    }

    /// Factors that stand still, so that plain differences measure something else: they have tests of their own.
    private static let straightThrough = [
        CEGPPO.name, CISPO.name, FIPO.name, GSPO.name, TOPR.name, VESPO.name,
    ]

    /// Those in which a token's term hangs on its whole row.
    private static let ofRows = [FIPO.name, GMPO.name, GSPO.name, VESPO.name]

    private func objectives() -> [any Objective] {
        var dual = PPOClip(), sharper = HDPO(), squared = DPPO()
        (dual.clipHigh, dual.clipDual) = (0.28, 3)
        sharper.alpha = 0.8
        (squared.squared, squared.cap) = (0.3, nil)
        return ObjectiveRegistry.all.filter { !Self.straightThrough.contains($0.name) }.map { $0.init() }
            + [dual, sharper, squared]
    }

    @Test(arguments: [1, 2, 3, 4] as [UInt64]) func gradientsEqualCentralDifferences(_ seed: UInt64) {
        for objective in objectives() {
            let inputs = unit(objective, seed: seed), gradients = evaluate(objective, unit: inputs).gradients
            for (member, sequence) in inputs.enumerated() {
                for t in sequence.mask.indices {
                    var above = inputs, below = inputs
                    // 2^-9 is exact in float32 next to numbers of size 1; the loss is computed in Double.
                    above[member].outputs[t] += 0x1p-9
                    below[member].outputs[t] -= 0x1p-9
                    let slope = (evaluate(objective, unit: above).loss - evaluate(objective, unit: below).loss) / 0x1p-8
                    guard !isNearKink(objective, sequence, t) else { continue }
                    // Second-order error of the difference.
                    #expect(
                        isClose(Double(gradients[member][t]), slope, absolute: 2e-5), "\(type(of: objective)) at \(t)")
                }
            }
        }
    }

    /// Of a sequence in which every third token carries no weight.
    @Test(arguments: ObjectiveRegistry.all.map { $0.name }) func whatAnObjectiveDoesNotReadHasNoInfluence(
        _ name: String
    ) throws {
        let objective = try #require(ObjectiveRegistry.all.first { $0.name == name }).init()
        let whole = unit(objective, seed: 5).map { sequence in
            var sequence = sequence
            for t in stride(from: 0, to: sequence.mask.count, by: 3) { sequence.weights[t] = 0 }
            return sequence
        }
        let part = whole.map { sequence in
            var asked = sequence, unasked = sequence
            unasked.outputs = []
            asked.mask = objective.reads(unasked)
            for t in asked.mask.indices where !asked.mask[t] { asked.outputs[t] = 0 }
            return asked
        }
        let (all, read) = (evaluate(objective, unit: whole), evaluate(objective, unit: part))
        #expect(all.loss == read.loss && all.gradients == read.gradients)
        let isOfTokens = !objective.isPerSequence && !Self.ofRows.contains(name)
        #expect(
            part.contains { $0.mask.count { $0 } < $0.mask.indices.count { t in t > 2 && t % 7 != 0 } } == isOfTokens)
    }

    /// Where a bound lies within the difference's step: ratios at a clip, values at the clip around the old one or
    /// where both errors are as large, log-probabilities equal to the old one.
    private func isNearKink(_ objective: any Objective, _ sequence: SequenceInputs, _ t: Int) -> Bool {
        guard objective.output == .value else {
            let ratio = exp(Double(sequence.outputs[t] - sequence.oldLogprobs[t]))
            if objective is DPPO {
                let moved = exp(Double(sequence.outputs[t])) - exp(Double(sequence.oldLogprobs[t]))
                return abs(abs(moved) - 0.2) < 0.01 || sequence.outputs[t] > -0.01
            }
            if objective is GMPO { return [exp(-0.4), exp(0.4)].contains { abs(ratio - $0) < 0.01 } }
            return ([0.8, 1.2, 1.28, 3] + (objective is KLCov ? [1] : [])).contains { abs(ratio - $0) < 0.01 }
        }
        guard let old = sequence.oldValues?[t], let target = sequence.returns?[t] else { return false }
        let value = sequence.outputs[t], clipped = min(max(value, old - 0.5), old + 0.5)
        return abs(abs(value - old) - 0.5) < 0.01
            || clipped != value && abs(abs(value - target) - abs(clipped - target)) < 0.01
    }

    @Test func everyMemberIsListedOnce() {
        let names = ObjectiveRegistry.all.map { $0.name }
        #expect(names == Set(names).sorted() && ObjectiveRegistry.all.allSatisfy { !$0.source.isEmpty })
    }

    @Test func cispoClipsTheRatioAndKeepsEveryGradient() {
        // r = 2 at A = 1: weighed by 1.28 although a clipped surrogate would stand still; r = .5 has no lower bound.
        let inputs = SequenceInputs(
            logprobs: [0, -1, -2], oldLogprobs: [0, -1 - Float(log(2.0)), -2 + Float(log(2.0))],
            advantages: [0, 1, -1], weights: [0, 0.5, 0.5],
            mask: [false, true, true])
        let result = evaluate(CISPO(), inputs)
        #expect(isClose(result.loss, -0.5 * 1.28 * -1 + 0.5 * 0.5 * -2, absolute: 1e-6))
        #expect(
            isClose(Double(result.gradient[1]), -0.64, absolute: 1e-6)
                && isClose(Double(result.gradient[2]), 0.25, absolute: 1e-6))
    }

    @Test func preferencesAreTheWorkedNumbers() {
        func sequence(_ logprob: Float, _ reference: Float) -> SequenceInputs {
            SequenceInputs(
                logprobs: [0, logprob], oldLogprobs: [0, 0], advantages: [0, 1], weights: [0, 0.5],
                mask: [false, true], referenceLogprobs: [0, reference])
        }
        for (alpha, loss, slope) in [
            (1.0, 0.554355, -0.042556), (0.9, 0.571573, -0.039183), (0.8, 0.589185, -0.035618),
            (1.2, 0.521090, -0.048735),
        ] {
            var objective = HDPO()
            objective.alpha = alpha
            let result = evaluate(objective, unit: [sequence(-10, -12), sequence(-14, -13)])
            #expect(isClose(result.loss, loss, absolute: 1e-6))
            #expect(
                isClose(Double(result.gradients[0][1]), slope, absolute: 1e-6)
                    && isClose(Double(result.gradients[1][1]), -slope, absolute: 1e-6))
        }
        let same = evaluate(HDPO(), unit: [sequence(-10, -12), sequence(-10, -12)])
        #expect(isClose(same.loss, log(2), absolute: 1e-12) && same.gradients[0][1] + same.gradients[1][1] == 0)
        // Far apart: softplus(800) is 800, not infinity.
        #expect(
            isClose(
                evaluate(HDPO(), unit: [sequence(-8000, 0), sequence(0, 0)]).loss, 800,
                absolute: 1e-3))
    }

    @Test func implicitRewardsAreTrainedOnOutcomes() {
        // q1 = 2, -1, .5 and correct; q2 = -1, -2 and wrong: cross-entropies .656350 and .620957.
        func loss(_ q: [Float], _ reward: Double) -> (Double, Float) {
            var inputs = SequenceInputs(
                logprobs: q, oldLogprobs: q.map { _ in 0 }, advantages: q, weights: q.map { _ in 0.5 },
                mask: q.map { _ in true }, referenceLogprobs: q.map { _ in 0 })
            inputs.reward = reward
            let result = evaluate(PRIMECrossEntropy(), inputs)
            return (result.loss, result.gradient[0])
        }
        let first = loss([2, -1, 0.5], 1), second = loss([-1, -2], 0)
        #expect(isClose(first.0, 0.5 * 0.656350, absolute: 1e-6) && isClose(second.0, 0.5 * 0.620957, absolute: 1e-6))
        #expect(
            isClose(Double(first.1), 0.5 * 0.05 * (0.518741 - 1), absolute: 1e-6)
                && isClose(Double(second.1), 0.5 * 0.05 * 0.462570, absolute: 1e-6))
        #expect(isClose(loss([0, 0], 1).0, 0.5 * log(2), absolute: 1e-12))
    }

    @Test func covarianceMarksTheTokensThatTurnThePolicyCertain() throws {
        var inputs = sequence(seed: 9, length: 40)
        inputs.selected = nil
        var selection = KLCov()
        selection.ratio = 0.1
        let selected = try #require(selection.selection([inputs], seed: 0))[0],
            trained = inputs.mask.indices.filter { inputs.mask[$0] }
        let count = Double(trained.count), meanA = trained.reduce(0) { $0 + Double(inputs.advantages[$1]) } / count
        let meanL = trained.reduce(0) { $0 + Double(inputs.logprobs[$1]) } / count
        let covariance = trained.map {
            ($0, (Double(inputs.advantages[$0]) - meanA) * (Double(inputs.logprobs[$0]) - meanL))
        }.sorted { $0.1 > $1.1 }
        #expect(Set(covariance.prefix(Int(0.1 * count)).map(\.0)) == Set(selected.indices.filter { selected[$0] }))
        // Clip-Cov takes its share from between the bounds, and what it takes has no gradient.
        var clip = ClipCov()
        (clip.ratio, clip.covarianceLow, clip.covarianceHigh) = (0.1, 0.05, 5)
        let out = try #require(clip.selection([inputs], seed: 3))[0]
        let chosen = out.indices.filter { out[$0] }
        #expect(
            chosen.count == Int(0.1 * count)
                && chosen.allSatisfy { t in covariance.contains { $0.0 == t && $0.1 > 0.05 && $0.1 < 5 } })
        inputs.selected = out
        let gradient = evaluate(clip, inputs).gradient
        #expect(chosen.allSatisfy { gradient[$0] == 0 })
        #expect(clip.selection([inputs], seed: 3)?[0] == out)
    }

    @Test func valuesAreClippedAroundTheOldOnes() {
        func loss(_ value: Float, _ old: Float, _ target: Float) -> (Double, Float) {
            var inputs = SequenceInputs(
                logprobs: [value], oldLogprobs: [0], advantages: [0], weights: [1], mask: [true])
            (inputs.returns, inputs.oldValues) = ([target], [old])
            let result = evaluate(ValueLoss(), inputs)
            return (result.loss, result.gradient[0])
        }
        #expect(loss(1.2, 1, 2) == (0.5 * Double(Float(1.2) - 2) * Double(Float(1.2) - 2), Float(1.2) - 2))
        // Moved 1 towards the target where .5 is allowed: the clipped error counts and nothing flows.
        #expect(loss(2, 1, 3).0 == 0.5 * 1.5 * 1.5 && loss(2, 1, 3).1 == 0)
    }

    @Test func huberIsLinearBeyondItsBound() {
        var objective = ETPOQ()
        objective.huber = 1
        var inputs = SequenceInputs(logprobs: [3], oldLogprobs: [0], advantages: [0], weights: [1], mask: [true])
        inputs.returns = [0]
        let result = evaluate(objective, inputs)
        #expect(result.loss == 2.5 && result.gradient == [1])
    }

    @Test func gspoSharesOneRatioAndPassesItsSizeToEveryToken() {
        // Log-ratios .2, -.1, .05 → s = exp(.05) = 1.051271, clipped to 1.0004 for A > 0 and unclipped for A < 0.
        var inputs = SequenceInputs(
            logprobs: [0, -0.8, -1.1, -0.95], oldLogprobs: [0, -1, -1, -1], advantages: [0, 1, 1, 1],
            weights: [0, 0.1, 0.1, 0.1],
            mask: [false, true, true, true])
        let positive = evaluate(GSPO(), inputs)
        #expect(isClose(positive.loss, -0.3 * 1.0004, absolute: 1e-6))
        #expect(positive.gradient == [0, 0, 0, 0])
        inputs.advantages = [0, -1, -1, -1]
        let negative = evaluate(GSPO(), inputs)
        #expect(isClose(negative.loss, 0.3 * 1.051271, absolute: 1e-6))
        for t in 1...3 { #expect(isClose(Double(negative.gradient[t]), 0.1 * 1.051271, absolute: 1e-6)) }
    }

    @Test func maskedTokensHaveNoInfluence() {
        for type in ObjectiveRegistry.all {
            let objective = type.init(), clean = unit(objective, seed: 5)
            let dirty = clean.map { clean in
                var dirty = clean
                for t in clean.mask.indices where !clean.mask[t] {
                    (dirty.outputs[t], dirty.oldLogprobs[t], dirty.advantages[t], dirty.weights[t]) = (-50, 3, 9, 9)
                    dirty.referenceLogprobs?[t] = 5
                    dirty.returns?[t] = 6
                    dirty.oldValues?[t] = 7
                }
                return dirty
            }
            #expect(evaluate(objective, unit: clean) == evaluate(objective, unit: dirty), "\(type.name)")
            #expect(objective.selection(clean, seed: 1) == objective.selection(dirty, seed: 1), "\(type.name)")
        }
    }

    @Test func anEmptySequenceGivesNothing() {
        for type in ObjectiveRegistry.all {
            let inputs = SequenceInputs(logprobs: [], oldLogprobs: [], advantages: [], weights: [], mask: [])
            #expect(evaluate(type.init(), unit: [inputs]).loss == 0)
        }
    }

    @Test func clippedLossesAreTheWorkedNumbers() {
        var objective = PPOClip()
        objective.clipHigh = 0.28
        func loss(_ advantage: Float, _ ratio: Double, dual: Double? = nil) -> Double {
            objective.clipDual = dual
            return evaluate(
                objective,
                SequenceInputs(
                    logprobs: [0, Float(log(ratio))], oldLogprobs: [0, 0], advantages: [0, advantage], weights: [0, 1],
                    mask: [false, true])
            ).loss
        }
        #expect(isClose(loss(1, 1.5), -1.28, absolute: 1e-6))
        #expect(isClose(loss(1, 0.5), -0.5, absolute: 1e-6))
        #expect(isClose(loss(-1, 1.5), 1.5, absolute: 1e-6))
        #expect(isClose(loss(-1, 0.5), 0.8, absolute: 1e-6))
        #expect(isClose(loss(-1, 5, dual: 3), 3, absolute: 1e-6))
        #expect(isClose(loss(-1, 5, dual: 10), 5, absolute: 1e-5))
        #expect(isClose(loss(-1, 12, dual: 10), 10, absolute: 1e-6))
    }

    @Test func theHighEntropyLossIsThePapersWorkedExample() {
        // Two rows, token 2 of each kept: min(1.5, 1.28) and min(-.6, -.8), over 2 kept tokens: -(1.28 - .8) / 2.
        func row(_ advantage: Float, _ ratio: Double) -> SequenceInputs {
            SequenceInputs(
                logprobs: [0, Float(log(ratio))], oldLogprobs: [0, 0], advantages: [0, advantage], weights: [0, 0.5],
                mask: [false, true])
        }
        var objective = PPOClip()
        objective.clipHigh = 0.28
        #expect(
            isClose(
                evaluate(objective, row(1, 1.5)).loss + evaluate(objective, row(-1, 0.6)).loss, -0.24, absolute: 1e-6))
    }

    @Test(arguments: KLEstimatorRegistry.all.indices) func klDerivativesEqualCentralDifferences(_ index: Int) {
        let estimator = KLEstimatorRegistry.all[index]
        // A straight-through form has the derivative of k2, whatever its value.
        let measured: any KLEstimator.Type = estimator.name.hasSuffix("+") ? K2.self : estimator
        for d in [-2.0, -0.3, 0.2, 1.7] {
            let slope = (measured.evaluate(d + 1e-5).value - measured.evaluate(d - 1e-5).value) / 2e-5
            #expect(isClose(estimator.evaluate(d).derivative, slope, absolute: 1e-8))
        }
    }

    @Test func klValuesAreTheWorkedNumbers() {
        for (p, reference, k1, k2, k3) in [
            (0.5, 0.4, 0.223144, 0.024897, 0.023144), (0.2, 0.3, -0.405465, 0.082201, 0.094535),
        ] {
            let d = log(p) - log(reference)
            #expect(isClose(K1.evaluate(d).value, k1, absolute: 1e-6))
            #expect(isClose(K2.evaluate(d).value, k2, absolute: 1e-6))
            #expect(isClose(K3.evaluate(d).value, k3, absolute: 1e-6))
        }
    }
}
