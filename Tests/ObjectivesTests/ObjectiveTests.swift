import Foundation
import Objectives
import TestSupport
import Testing

/// Every registered objective, held against central differences of its own loss.
@Suite struct ObjectiveRegistryTests {
    /// Ratios on both sides of every clip, both signs of advantage, masked tokens in between.
    private func sequence(seed: UInt64, length: Int = 24) -> SequenceInputs {
        var generator = SplitMix(seed: seed)
        func uniform(_ low: Double, _ high: Double) -> Float { Float(low + (high - low) * Double(generator.next() >> 11) / Double(1 << 53)) }
        let mask = (0..<length).map { $0 > 2 && $0 % 7 != 0 }
        func perToken(_ make: () -> Float) -> [Float] { mask.map { $0 ? make() : 0 } }
        let old = perToken { uniform(-3, -0.1) }
        let current = zip(old, mask).map { old, trained in trained ? old + uniform(-1.2, 1.2) : 0 }
        return SequenceInputs(
            logprobs: current, oldLogprobs: old, advantages: perToken { uniform(-2, 2) }, weights: perToken { uniform(0, 0.2) }, mask: mask)
    }

    private func evaluate(_ objective: any Objective, _ sequence: SequenceInputs) -> (loss: Double, gradient: [Float]) {
        var gradient = [Float](repeating: 0, count: sequence.mask.count)
        let loss = objective.evaluate(sequence, gradient: &gradient).loss
        return (loss, gradient)
    }

    /// GSPO's derivative is straight-through: its value is the sequence's, so plain differences measure something else.
    private func objectives() -> [any Objective] {
        var dual = PPOClip()
        (dual.clipHigh, dual.clipDual) = (0.28, 3)
        return ObjectiveRegistry.all.filter { $0 != GSPO.self }.map { $0.init() } + [dual]
    }

    @Test(arguments: [1, 2, 3, 4] as [UInt64]) func gradientsEqualCentralDifferences(_ seed: UInt64) {
        for objective in objectives() {
            let inputs = sequence(seed: seed), gradient = evaluate(objective, inputs).gradient
            for t in inputs.mask.indices {
                var above = inputs, below = inputs
                // 2^-9 is exact in float32 next to numbers of size 1; the loss is computed in Double.
                above.logprobs[t] += 0x1p-9
                below.logprobs[t] -= 0x1p-9
                let slope = (evaluate(objective, above).loss - evaluate(objective, below).loss) / 0x1p-8
                // Second-order error of the difference, unless a clip lies within the step.
                let ratio = exp(Double(inputs.logprobs[t] - inputs.oldLogprobs[t])), nearClip = [0.8, 1.2, 1.28, 3].contains { abs(ratio - $0) < 0.01 }
                guard !nearClip else { continue }
                #expect(isClose(Double(gradient[t]), slope, absolute: 2e-5), "\(type(of: objective)) at \(t)")
            }
        }
    }

    @Test func gspoSharesOneRatioAndPassesItsSizeToEveryToken() {
        // Log-ratios .2, -.1, .05 → s = exp(.05) = 1.051271, clipped to 1.0004 for A > 0 and unclipped for A < 0.
        var inputs = SequenceInputs(
            logprobs: [0, -0.8, -1.1, -0.95], oldLogprobs: [0, -1, -1, -1], advantages: [0, 1, 1, 1], weights: [0, 0.1, 0.1, 0.1],
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
            let objective = type.init(), clean = sequence(seed: 5)
            var dirty = clean
            for t in clean.mask.indices where !clean.mask[t] {
                (dirty.logprobs[t], dirty.oldLogprobs[t], dirty.advantages[t], dirty.weights[t]) = (-50, 3, 9, 9)
            }
            #expect(evaluate(objective, clean) == evaluate(objective, dirty), "\(type.name)")
        }
    }

    @Test func anEmptySequenceGivesNothing() {
        for type in ObjectiveRegistry.all {
            let inputs = SequenceInputs(logprobs: [], oldLogprobs: [], advantages: [], weights: [], mask: [])
            #expect(evaluate(type.init(), inputs).loss == 0)
        }
    }

    @Test func clippedLossesAreTheWorkedNumbers() {
        var objective = PPOClip()
        objective.clipHigh = 0.28
        func loss(_ advantage: Float, _ ratio: Double, dual: Double? = nil) -> Double {
            objective.clipDual = dual
            return evaluate(
                objective,
                SequenceInputs(logprobs: [0, Float(log(ratio))], oldLogprobs: [0, 0], advantages: [0, advantage], weights: [0, 1], mask: [false, true])
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
            SequenceInputs(logprobs: [0, Float(log(ratio))], oldLogprobs: [0, 0], advantages: [0, advantage], weights: [0, 0.5], mask: [false, true])
        }
        var objective = PPOClip()
        objective.clipHigh = 0.28
        #expect(isClose(evaluate(objective, row(1, 1.5)).loss + evaluate(objective, row(-1, 0.6)).loss, -0.24, absolute: 1e-6))
    }

    @Test(arguments: KLEstimator.allCases) func klDerivativesEqualCentralDifferences(_ estimator: KLEstimator) {
        for d in [-2.0, -0.3, 0.2, 1.7] {
            let slope = (estimator.evaluate(d + 1e-5).value - estimator.evaluate(d - 1e-5).value) / 2e-5
            #expect(isClose(estimator.evaluate(d).derivative, slope, absolute: 1e-8))
        }
    }

    @Test func klValuesAreTheWorkedNumbers() {
        for (p, reference, k1, k2, k3) in [(0.5, 0.4, 0.223144, 0.024897, 0.023144), (0.2, 0.3, -0.405465, 0.082201, 0.094535)] {
            let d = log(p) - log(reference)
            #expect(isClose(KLEstimator.k1.evaluate(d).value, k1, absolute: 1e-6))
            #expect(isClose(KLEstimator.k2.evaluate(d).value, k2, absolute: 1e-6))
            #expect(isClose(KLEstimator.k3.evaluate(d).value, k3, absolute: 1e-6))
        }
    }
}
