import Credit
import Foundation
import TestSupport
import Testing

/// The worked numbers of two rollouts: Δ = .1, -.2, ·, -1.5, 0 (the third is no token of the policy's) and .5, .8.
@Suite struct CorrectionRejectionTests {
    private let first: [Float] = [0.1, -0.2, 7, -1.5, 0], second: [Float] = [0.5, 0.8]
    private let firstMask = [true, true, false, true, true]

    private func correction(_ edit: (inout ImportanceCorrection) -> Void) -> ImportanceCorrection {
        var correction = ImportanceCorrection()
        edit(&correction)
        return correction
    }

    private func weights(_ correction: ImportanceCorrection) -> [[Double]] {
        [(first, firstMask), (second, [true, true])].map { delta, mask in
            correction.weights(trainer: delta, sampler: delta.map { _ in 0 }, mask: mask)
        }
    }

    private func expect(
        _ numbers: [[Double]], _ location: SourceLocation = #_sourceLocation,
        _ edit: (inout ImportanceCorrection) -> Void
    ) {
        for (found, expected) in zip(weights(correction(edit)), numbers) {
            #expect(
                firstDifference(found, expected, absolute: 2e-6) == nil, "\(found)", sourceLocation: location)
        }
    }

    @Test func weightsOfTokensAreTheWorkedNumbers() {
        let plain = [1.105171, 0.818731, 0, 0.223130, 1]
        expect([plain, [1.648721, 2.225541]]) { ($0.level, $0.high) = (.token, nil) }
        expect([plain, [1.648721, 2]]) { $0.level = .token }
        expect([[1.105171, 0.818731, 0, 0.5, 1], [1.648721, 2]]) { ($0.level, $0.low) = (.token, 0.5) }
        expect([[1.105171, 0.818731, 0, 0, 1], [1.648721, 0]]) { ($0.level, $0.mode) = (.token, .mask) }
    }

    @Test func weightsOfSegmentsAndSequencesAreTheWorkedNumbers() {
        expect([[0.201897, 0.201897, 0, 0.201897, 0.201897], [2, 2]]) { $0.level = .sequenceSum }
        expect([[0.670320, 0.670320, 0, 0.670320, 0.670320], [1.915541, 1.915541]]) { $0.level = .sequenceMean }
        expect([[0.951229, 0.951229, 0, 0.472367, 0.472367], [1.915541, 1.915541]]) { $0.level = .segment }
    }

    /// A sum is bounded as a whole, not token by token.
    @Test func aRatioIsBoundedAtItsLevel() {
        let correction = correction { ($0.level, $0.high) = (.sequenceSum, nil) }
        let weights = correction.weights(trainer: [15, 15], sampler: [0, 0], mask: [true, true])
        #expect(isClose(weights[0], exp(20), absolute: 1))
    }

    private func keeps(_ rules: [RejectionRule], veto: RatioVeto? = nil) -> [[Bool]] {
        weights(
            correction {
                $0.reject = rules
                $0.veto = veto
            }
        ).map { $0.map { $0 > 0 } }
    }

    private let whole = [true, true, false, true, true], none = [false, false, false, false, false]

    @Test func rolloutsAreRejectedByTheWorkedNumbers() {
        // Mean k3 .186758; largest k3 .723130 in the first and .425541 in the second.
        #expect(keeps([RejectionRule(.k3, .sequenceMean, high: 0.2)]) == [whole, [false, false]])
        #expect(keeps([RejectionRule(.k3, .sequenceMax, high: 0.7)]) == [none, [true, true]])
        for (rule, value) in [
            (RejectionRule.Metric.k3, 0.186758), (.k3, 0.747032), (.k3, 0.723130), (.k2, 1.15),
        ] {
            let level: RejectionRule.Level =
                value == 0.186758 ? .sequenceMean : value == 0.723130 ? .sequenceMax : .sequenceSum
            #expect(keeps([RejectionRule(rule, level, high: value + 1e-5)])[0] == whole)
            #expect(keeps([RejectionRule(rule, level, high: value - 1e-5)])[0] == none)
        }
    }

    /// verl's "0.6_1.2" on seq_mean_k1 is of π_sampler / π_trainer, 1.4918 here: 1/1.2 to 1/0.6 of ours.
    @Test func boundsOfK1AreThoseOfTheRatio() {
        for metric in [RejectionRule.Metric.k1, .ratio] {
            #expect(keeps([RejectionRule(metric, .sequenceMean, low: 0.6, high: 1.2)])[0] == whole)
            #expect(keeps([RejectionRule(metric, .sequenceMean, low: 1 / 1.2, high: 1 / 0.6)])[0] == none)
            #expect(keeps([RejectionRule(metric, .sequenceMean, low: 1 / 1.6, high: 1 / 0.6)])[0] == whole)
            #expect(keeps([RejectionRule(metric, .sequenceSum, low: 0.2, high: 2)])[0] == whole)
            #expect(keeps([RejectionRule(metric, .sequenceSum, low: 0.21, high: 2)])[0] == none)
        }
    }

    @Test func tokensAreRejectedByEveryCriterion() {
        #expect(
            keeps([RejectionRule(.ratio, low: 0.5, high: 2)]) == [[true, true, false, false, true], [true, false]])
        #expect(
            keeps([RejectionRule(.ratio, low: 0.5), RejectionRule(.k2, high: 0.01)])
                == [[true, false, false, false, true], [false, false]])
        // exp(lp_old) - exp(lp_s) of log-probabilities at 0: ratio - 1.
        #expect(
            keeps([RejectionRule(.difference, low: -0.2, high: 0.2)]) == [
                [true, true, false, false, true], [false, false],
            ])
    }

    @Test func oneTokenVetoesARollout() {
        #expect(keeps([], veto: RatioVeto(low: 0.2, high: 3)) == [whole, [true, true]])
        #expect(keeps([], veto: RatioVeto(low: 0.3)) == [none, [true, true]])
        #expect(keeps([], veto: RatioVeto(high: 2)) == [whole, [false, false]])
    }

    // MARK: over a plan

    private func policy(_ edit: (inout ImportanceCorrection) -> Void) -> CreditRecipe {
        var policy = CreditRecipe()
        policy.advantage = RawReward()
        edit(&policy.correction)
        return policy
    }

    private func inputs(_ deltas: [([Float], [Bool])]) -> [CreditInput] {
        deltas.map { delta, mask in
            var input = CreditInput(
                groupID: "a", reward: 1, correct: true, isTruncated: false, mask: mask, entropy: [])
            input.columns = [.oldLogprobs: delta, .rolloutLogprobs: delta.map { _ in 0 }]
            return input
        }
    }

    private var both: [CreditInput] { inputs([(first, firstMask), (second, [true, true])]) }

    private func weights(_ policy: CreditRecipe, _ inputs: [CreditInput]) -> [[Double]] {
        policy.assign(inputs, seed: 0).kept.map(\.weights)
    }

    @Test func normalisedWeightsAreTheWorkedNumbers() {
        // Six tokens of weight 1/6 each.
        let tokens = weights(policy { ($0.level, $0.normalize) = (.token, .batch) }, both).map { $0.map { $0 * 6 } }
        #expect(firstDifference(tokens[0], [0.975760, 0.722861, 0, 0.197003, 0.882904], absolute: 2e-6) == nil)
        #expect(firstDifference(tokens[1], [1.455663, 1.765809], absolute: 2e-6) == nil)
        let rows = weights(policy { ($0.level, $0.normalize) = (.sequenceSum, .batch) }, both)
        #expect(isClose(rows[0][0] * 6, 0.183384, absolute: 2e-6) && isClose(rows[1][0] * 6, 1.816616, absolute: 2e-6))
    }

    /// Weights are formed, and normalised, before anything is rejected.
    @Test func rejectedTokensCountInTheMean() {
        let found = weights(
            policy {
                ($0.level, $0.normalize, $0.rejected) = (.token, .batch, .keep)
                $0.reject = [RejectionRule(.ratio, low: 0.5)]
            }, both)
        #expect(firstDifference(found[0].map { $0 * 6 }, [0.975760, 0.722861, 0, 0, 0.882904], absolute: 2e-6) == nil)
    }

    @Test func weightsThatAreAllNothingAreNotNormalised() {
        let far = inputs([([-30, -30], [true, true])])
        let found = weights(policy { ($0.level, $0.normalize, $0.low) = (.token, .batch, 0) }, far)
        #expect(found[0].allSatisfy { $0.isFinite && $0 < 1e-8 })
    }

    @Test(arguments: ImportanceCorrection.Denominator.allCases) func denominatorsKnowRejectedTokensOrNot(
        _ denominator: ImportanceCorrection.Denominator
    ) {
        let recipe = policy {
            $0.reject = [RejectionRule(.ratio, low: 0.5, high: 2)]
            $0.denominator = denominator
        }
        let plan = recipe.assign(both, seed: 0), each = denominator == .kept ? 1 / 4.0 : 1 / 6.0
        #expect(plan.kept.map(\.weights) == [[each, each, 0, 0, each], [each, 0]])
        #expect(plan.kept.map(\.rejected) == [1, 1])
        let kl = plan.kept.map(\.unmaskedWeights)
        #expect(
            kl
                == (denominator == .kept
                    ? [[each, each, 0, 0, each], [each, 0]] : [[each, each, 0, each, each], [each, each]]))
    }

    @Test func aRolloutWithoutATokenLeavesThePlanOrItsRowsCount() {
        var recipe = policy { $0.reject = [RejectionRule(.k3, .sequenceMax, high: 0.7)] }
        recipe.aggregation = SequenceMeanTokenMean()
        recipe.correction.rejected = .keep
        #expect(recipe.assign(both, seed: 0).kept.map(\.weights) == [[0, 0, 0, 0, 0], [0.25, 0.25]])
        recipe.correction.denominator = .kept
        #expect(recipe.assign(both, seed: 0).kept.map(\.weights) == [[0, 0, 0, 0, 0], [0.5, 0.5]])
        recipe.correction.reject = [RejectionRule(.k3, .sequenceMax, high: 0.001)]
        let nothing = recipe.assign(both, seed: 0)
        #expect(nothing.kept.count == 2 && nothing.kept.allSatisfy { $0.weights.allSatisfy { $0 == 0 } })
        recipe.correction.rejected = .exclude
        #expect(recipe.correction.rejects(trainer: second, sampler: [0, 0], mask: [true, true]))
    }

    @Test func theLargestOfASecondMomentGo() {
        let deltas: [Float] = [0.9, -0.1, 0.5, 0.05, -0.3], mask = [Bool](repeating: true, count: 5)
        let recipe = policy {
            $0.reject = [RejectionRule(.secondMoment, high: 0.04)]
            $0.denominator = .kept
        }
        // Over both rollouts as over one.
        for inputs in [
            inputs([(deltas, mask)]),
            inputs([(Array(deltas[..<2]), [true, true]), (Array(deltas[2...]), [true, true, true])]),
        ] {
            let found = weights(recipe, inputs).flatMap { $0 }
            #expect(found.map { $0 > 0 } == [false, true, false, true, true])
            #expect(found.allSatisfy { $0 == 0 || isClose($0, 1 / 3.0, absolute: 1e-12) })
        }
        let equal = inputs([([0.5, 0.5], [true, true]), ([0.5, 0.1], [true, true])])
        // The mean of .25 and .01 is .13; the first of the equal ones stays.
        var ties = recipe
        ties.correction.reject = [RejectionRule(.secondMoment, high: 0.14)]
        #expect(weights(ties, equal).flatMap { $0 }.map { $0 > 0 } == [true, false, false, true])
        ties.correction.reject = [RejectionRule(.secondMoment, high: 1e-9)]
        #expect(weights(ties, equal).flatMap { $0 }.map { $0 > 0 } == [false, false, false, true])
    }

    @Test func stepsHaveSecondMomentsOfTheirOwn() {
        var recipe = policy { $0.reject = [RejectionRule(.secondMoment, high: 0.1)] }
        var inputs = inputs([([1, 0.1], [true, true]), ([2, 1], [true, true])])
        inputs[1].groupID = "b"
        recipe.schedule.groupsPerStep = 1
        let own = recipe.assign(inputs, seed: 0).kept.map { $0.weights.map { $0 > 0 } }
        #expect(own == [[false, true], [false, true]])
        recipe.correction.reject[0].scope = .plan
        let joint = recipe.assign(inputs, seed: 0)
        #expect(joint.kept.map { $0.weights.map { $0 > 0 } } == [[false, true], [false, false]])
    }

    /// A ratio of 1, in means and denominators too.
    @Test func aRolloutWithoutASamplerIsLeftAsItIs() {
        var recipe = policy {
            ($0.level, $0.normalize, $0.denominator, $0.allowMissing) = (.token, .batch, .kept, true)
            $0.reject = [RejectionRule(.secondMoment, high: 0.3)]
        }
        var inputs = both
        inputs[1].columns[.rolloutLogprobs] = nil
        let plan = recipe.assign(inputs, seed: 0)
        #expect(plan.kept.map(\.lacksSampler) == [false, true] && plan.kept[1].rejected == 0)
        // Δ² = .01, .04, 2.25, 0 | 0, 0: the largest goes; the mean weight is 5.147032 / 6.
        #expect(plan.kept[0].rejected == 1)
        #expect(isClose(plan.kept[1].weights[0], 6 / 5.147032 / 5, absolute: 1e-6))
        recipe.correction.allowMissing = false
        #expect(recipe.assign(inputs, seed: 0).kept[1].lacksSampler)
    }

    @Test func aMaskAndARejectionShareTheDenominator() {
        var recipe = policy {
            $0.reject = [RejectionRule(.ratio, low: 0.5, high: 2)]
            $0.denominator = .kept
        }
        var mask = EntropyMask()
        mask.top = 0.5
        recipe.mask = mask
        var inputs = both
        inputs[0].entropy = [5, 0, 9, 4, 1]
        inputs[1].entropy = [3, 2]
        // The mask keeps entropies of 2.5 and more: 5, 4 and 3; the one of 4 is rejected.
        let found = weights(recipe, inputs)
        #expect(found == [[0.5, 0, 0, 0, 0], [0.5, 0]])
    }
}
