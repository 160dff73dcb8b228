import Credit
import Foundation
import TestSupport
import Testing

/// A group's rollouts with `lengths` trainable tokens each, behind a prompt of two.
private func episodes(_ rewards: [Double], lengths: [Int], _ edit: (Int, inout Episode) -> Void = { _, _ in })
    -> [Episode]
{
    zip(rewards, lengths).enumerated().map { index, pair in
        var episode = Episode(reward: pair.0, mask: [false, false] + [Bool](repeating: true, count: pair.1))
        edit(index, &episode)
        return episode
    }
}

/// Per-token numbers behind the prompt.
private func column(_ values: [Float]) -> [Float] { [0, 0] + values }

private func advantages(_ estimator: any AdvantageEstimator, _ groups: [[Episode]]) -> [[Double]] {
    estimator.credit(groups).joined().map { Array(($0?.advantages ?? []).dropFirst(2)) }
}

/// Every registered estimator.
@Suite struct EstimatorRegistryTests {
    private let rewards = [1.0, 0, 0, 1, 0]

    private func full(_ rewards: [Double]) -> [Episode] {
        episodes(rewards, lengths: rewards.indices.map { 2 + $0 % 3 }) { index, episode in
            let count = episode.mask.count
            for (number, column) in TokenColumn.allCases.enumerated() {
                episode.columns[column] = (0..<count).map { Float(sin(Double(1 + index + 3 * $0 + 7 * number))) }
            }
            episode.correct = rewards[index] > 0
            episode.isGreedy = index == 0
        }
    }

    @Test func everyEstimatorAnswersEveryMemberOfEveryGroup() {
        for type in AdvantageRegistry.all {
            let groups = [full(rewards), full([1]), [], full([0, 0])], credits = type.init().credit(groups)
            #expect(credits.map(\.count) == groups.map(\.count), "\(type.name)")
            for (episode, credit) in zip(groups.joined(), credits.joined()) {
                guard let credit else { continue }
                #expect(credit.advantages.count == episode.mask.count, "\(type.name)")
                #expect(credit.advantages.allSatisfy { $0.isFinite }, "\(type.name)")
                #expect(
                    zip(credit.advantages, episode.mask).allSatisfy { $1 || $0 == 0 },
                    "\(type.name): an advantage on a masked token")
                #expect((credit.returns != nil) == type.init().givesReturns, "\(type.name)")
            }
        }
        #expect(Set(AdvantageRegistry.all.map { $0.name }).count == AdvantageRegistry.all.count)
        #expect(AdvantageRegistry.all.map { $0.name } == AdvantageRegistry.all.map { $0.name }.sorted())
    }

    /// Those that compare within the group find nothing to learn from in one without contrast; the others say so by
    /// their name.
    @Test func groupsWithoutContrastGiveNothing() {
        let absolute = ["raw_reward", "positive_reward", "gae", "given", "reinforce_pp", "etpo_q"]
        for type in AdvantageRegistry.all where !absolute.contains(type.name) {
            let group = episodes([0.9, 0.9, 0.9], lengths: [2, 2, 2]) { $1.correct = true }
            #expect(advantages(type.init(), [group]).joined().allSatisfy { $0 == 0 }, "\(type.name)")
        }
    }

    @Test func maskedTokensHaveNoInfluence() {
        for type in AdvantageRegistry.all {
            let clean = full(rewards)
            let dirty = clean.map { episode in
                var episode = episode
                for column in TokenColumn.allCases {
                    for t in episode.mask.indices where !episode.mask[t] { episode.columns[column]?[t] = 99 }
                }
                return episode
            }
            #expect(type.init().credit([clean]) == type.init().credit([dirty]), "\(type.name)")
        }
    }

    @Test func theOrderOfAGroupsRowsChangesNothing() {
        for type in AdvantageRegistry.all {
            let group = full(rewards), order = [3, 0, 4, 1, 2]
            let plain = type.init().credit([group])[0], permuted = type.init().credit([order.map { group[$0] }])[0]
            for (place, row) in order.enumerated() {
                #expect(
                    firstDifference(permuted[place]?.advantages ?? [], plain[row]?.advantages ?? [], absolute: 1e-12)
                        == nil, "\(type.name)")
            }
        }
    }
}

@Suite struct TokenEstimatorTests {
    @Test func gaeIsTheWorkedExample() throws {
        let group = episodes([1], lengths: [3]) { $1.columns[.values] = column([0.5, 0.6, 0.8]) }
        var estimator = GAE()
        let plain = try #require(estimator.credit([group])[0][0])
        #expect(firstDifference(plain.advantages, [0, 0, 0.5, 0.4, 0.2], absolute: 1e-7) == nil)
        #expect(firstDifference(plain.returns ?? [], [0, 0, 1, 1, 1], absolute: 1e-7) == nil)
        estimator.lambda = 0.95
        let shorter = try #require(estimator.credit([group])[0][0])
        #expect(firstDifference(shorter.advantages, [0, 0, 0.4705, 0.39, 0.2], absolute: 1e-7) == nil)
        #expect(firstDifference(shorter.returns ?? [], [0, 0, 0.9705, 0.99, 1], absolute: 1e-7) == nil)
    }

    @Test func gaeIsCarriedOverTokensOfATool() throws {
        var plain = episodes([1], lengths: [3]) { $1.columns[.values] = column([0.5, 0.6, 0.8]) }
        let expected = try #require(GAE().credit([plain])[0][0]).advantages
        plain[0].mask.insert(contentsOf: [false, false], at: 3)
        plain[0].columns[.values]?.insert(contentsOf: [7, -7], at: 3)
        let found = try #require(GAE().credit([plain])[0][0]).advantages
        #expect(found == [0, 0, expected[2], 0, 0, expected[3], expected[4]])
    }

    @Test func whitenedAdvantagesAreTheWorkedNumbers() {
        var policy = CreditRecipe()
        policy.advantage = GAE()
        var input = CreditInput(
            groupID: "a", reward: 1, correct: true, isTruncated: false, mask: [false, true, true, true], entropy: [])
        input.columns[.values] = [0, 0.5, 0.6, 0.8]
        let plan = policy.assign([input], seed: 0)
        #expect(firstDifference(plan.kept[0].advantages, [0, 0.872871, 0.218218, -1.091089], absolute: 1e-5) == nil)
        #expect(firstDifference(plan.kept[0].returns ?? [], [0, 1, 1, 1], absolute: 1e-7) == nil)
        policy.advantage = ReinforcePlusPlus()
        let pair = policy.assign(
            [(1.0, 4), (0.0, 2)].map {
                CreditInput(
                    groupID: "a", reward: $0.0, correct: nil, isTruncated: false,
                    mask: .init(repeating: true, count: $0.1), entropy: [])
            }, seed: 0)
        #expect(
            firstDifference(pair.kept[0].advantages, [Double](repeating: 0.645497, count: 4), absolute: 1e-6) == nil)
        #expect(firstDifference(pair.kept[1].advantages, [-1.290994, -1.290994], absolute: 1e-6) == nil)
        let single = policy.assign(
            [CreditInput(groupID: "a", reward: 1, correct: true, isTruncated: false, mask: [true], entropy: [])],
            seed: 0)
        #expect(single.kept[0].advantages == [0] && single.warnings.contains { $0.contains("whitened") })
    }

    @Test func reinforceDiscountsWhatIsToCome() {
        var estimator = ReinforcePlusPlus()
        estimator.gamma = 0.5
        #expect(advantages(estimator, [episodes([1], lengths: [3])]) == [[0.25, 0.5, 1]])
        let penalised = episodes([1], lengths: [2]) { $1.tokenRewards = [0, 0, -0.5, -0.25] }
        #expect(advantages(estimator, [penalised]) == [[-0.5 + 0.5 * 0.75, 0.75]])
    }

    @Test func primeIsTheWorkedExample() {
        let group = episodes([1, 0], lengths: [3, 2]) { index, episode in
            episode.columns[.processRewards] = column(index == 0 ? [2, -1, 0.5] : [-1, -2])
            episode.correct = index == 0
        }
        let raw = advantages(PRIME(), [group])
        #expect(firstDifference(raw[0], [17.49975, -3.333167, 5.833317], absolute: 1e-4) == nil)
        #expect(firstDifference(raw[1], [-13.333167, -4.166683], absolute: 1e-4) == nil)
        var policy = CreditRecipe()
        policy.advantage = PRIME()
        let inputs = group.map { episode in
            var input = CreditInput(
                groupID: "a", reward: episode.reward, correct: episode.correct, isTruncated: false, mask: episode.mask,
                entropy: [])
            input.columns = episode.columns
            return input
        }
        let whitened = policy.assign(inputs, seed: 0).kept.flatMap { $0.advantages.dropFirst(2) }
        #expect(
            firstDifference(whitened, [1.456026, -0.328311, 0.456797, -1.184810, -0.399702], absolute: 1e-5) == nil)
    }

    /// Step 6 of the recipe: a penalty is taken off each token's return and nothing else.
    @Test(arguments: PRIME.Variant.allCases) func primeSubtractsAPenaltyInTheReward(
        _ variant: PRIME.Variant
    ) {
        var estimator = PRIME()
        (estimator.variant, estimator.gamma) = (variant, 0.9)
        let penalties = [[-0.5, -0.25, -1], [0, -2]]
        func group(_ penalised: Bool) -> [Episode] {
            episodes([1, 0], lengths: [3, 2]) { index, episode in
                episode.columns[.processRewards] = column(index == 0 ? [2, -1, 0.5] : [-1, -2])
                episode.correct = index == 0
                if penalised { episode.tokenRewards = [0, 0] + penalties[index] }
            }
        }
        let plain = advantages(estimator, [group(false)]), penalised = advantages(estimator, [group(true)])
        for (row, own) in penalties.enumerated() {
            let expected = own.indices.map { t in
                own[t...].enumerated().reduce(0) { $0 + pow(0.9, Double($1.offset)) * $1.element }
            }
            #expect(firstDifference(zip(penalised[row], plain[row]).map { $0 - $1 }, expected, absolute: 1e-12) == nil)
        }
    }

    @Test func primeOfThePaperTakesTheOthersMeans() {
        // r1 = β(2, -1, .5), r2 = β(-1, -2) with β scaled so that the recipe's normalised numbers come out: the paper's
        // process terms.
        var estimator = PRIME()
        (estimator.variant, estimator.beta, estimator.gamma) = (.paper, 0.05, 0)
        let group = episodes([0.5, 0.5], lengths: [3, 2]) { index, episode in
            // Last tokens have no process reward in the worked numbers.
            episode.columns[.processRewards] = column(index == 0 ? [2, -1, 0] : [-1, 0])
        }
        let scale = 1 / (0.05 + 1e-6)
        let found = advantages(estimator, [group]).map { $0.map { $0 * scale } }
        #expect(firstDifference(found[0], [2.49995, -0.49999, 0.49999], absolute: 1e-4) == nil)
        #expect(firstDifference(found[1], [-1.333307, -0.333327], absolute: 1e-4) == nil)
    }

    @Test func primeOfEqualOutcomesAndEqualModelsIsZero() {
        let group = episodes([1, 1], lengths: [2, 3]) {
            $1.columns[.processRewards] = [Float](repeating: 0, count: $1.mask.count)
        }
        #expect(advantages(PRIME(), [group]).joined().allSatisfy { $0 == 0 })
        let lonely = episodes([1], lengths: [2]) { $1.columns[.processRewards] = column([1, 1]) }
        #expect(advantages(PRIME(), [lonely]).joined().allSatisfy { $0.isFinite })
    }

    @Test func softAdvantagesAreTheWorkedExample() {
        var estimator = ETPOMonteCarlo()
        estimator.beta = 0.5
        let group = episodes([1, 0], lengths: [3, 2]) { index, episode in
            episode.columns[.referenceKL] = column(index == 0 ? [0.1, 0.2, 0.05] : [0.2, 0.1])
        }
        let found = advantages(estimator, [group])
        #expect(firstDifference(found[0], [0.4625, 0.4875, 0.5], absolute: 1e-7) == nil)
        #expect(firstDifference(found[1], [-0.4625, -0.4875], absolute: 1e-7) == nil)
        estimator.beta = 0
        #expect(advantages(estimator, [group]) == [[0.5, 0.5, 0.5], [-0.5, -0.5]] && estimator.columns.isEmpty)
        let same = episodes([1, 1], lengths: [2, 2]) { $1.columns[.referenceKL] = column([0.1, 0.2]) }
        estimator.beta = 0.5
        #expect(advantages(estimator, [same]).joined().allSatisfy { $0 == 0 })
    }

    @Test func softAdvantagesFromSampledTokensEstimateTheSameKL() {
        var estimator = ETPOMonteCarlo()
        (estimator.beta, estimator.kl) = (1, .k1)
        // Two rows, of which only the first differs from its reference, by .3 on its second token.
        let group = episodes([0.5, 0.5], lengths: [2, 2]) { index, episode in
            episode.columns[.oldLogprobs] = column([-1, -1])
            episode.columns[.referenceLogprobs] = column(index == 0 ? [-1, -1.3] : [-1, -1])
        }
        #expect(firstDifference(advantages(estimator, [group])[0], [-0.15, 0], absolute: 1e-6) == nil)
        estimator.kl = .k3
        let k3 = exp(-0.3) + 0.3 - 1
        #expect(firstDifference(advantages(estimator, [group])[0], [-k3 / 2, 0], absolute: 1e-6) == nil)
    }

    @Test func softBellmanTargetsAreTheNextStatesValues() throws {
        var estimator = ETPOBellman()
        estimator.beta = 0.5
        let group = episodes([2], lengths: [3]) { _, episode in
            episode.columns[.expectedQ] = column([1, 2, 3])
            episode.columns[.referenceKL] = column([0.2, 0.4, 0.6])
        }
        // V = .9, 1.8, 2.7; targets: the value behind each token, at last the reward.
        let credit = try #require(estimator.credit([group])[0][0])
        #expect(firstDifference(credit.returns ?? [], [0, 0, 1.8, 2.7, 2], absolute: 1e-6) == nil)
        #expect(firstDifference(credit.advantages, [0, 0, 0.9, 0.9, -0.7], absolute: 1e-6) == nil)
    }

    /// Turns s0, a, b with reward 1 against s0, a with reward 0, γ ½: returns ¼, ½, 1 and 0, 0. b is nobody else's.
    @Test func gigpoComparesTurnsThatHadTheSameToSee() {
        var estimator = GiGPO()
        (estimator.gamma, estimator.normalize) = (0.5, .none)
        let masks = [
            [false, false, true, true, false, true, false, true], [false, false, true, false, true, true],
        ]
        func group(_ states: [[String]?]) -> [Episode] {
            zip([1.0, 0], masks).enumerated().map { index, pair in
                var episode = Episode(reward: pair.0, mask: pair.1)
                episode.turnStates = states[index]
                return episode
            }
        }
        let known = group([["s", "a", "b"], ["s", "a"]])
        #expect(advantages(estimator, [known]) == [[0.625, 0.625, 0, 0.75, 0, 0.5], [-0.625, 0, -0.75, -0.75]])
        // By their deviations every pair is ±.7071 apart.
        estimator.normalize = .std
        let one = 0.5.squareRoot()
        let scaled = advantages(estimator, [known])
        #expect(firstDifference(scaled[0], [2 * one, 2 * one, 0, 2 * one, 0, one], absolute: 1e-5) == nil)
        #expect(firstDifference(scaled[1], [-2 * one, 0, -2 * one, -2 * one], absolute: 1e-5) == nil)
        // The same state twice in one rollout is compared too; states that nobody knows are nobody's, but for the prompt.
        (estimator.normalize, estimator.weight) = (.none, 2)
        let again = advantages(estimator, [group([["s", "a", "a"], ["s", "b"]])])
        #expect(again == [[0.75, 0.75, 0, 0, 0, 1], [-0.75, 0, -0.5, -0.5]])
        #expect(
            advantages(estimator, [group([nil, nil])]) == [[0.75, 0.75, 0, 0.5, 0, 0.5], [-0.75, 0, -0.5, -0.5]])
        estimator.weight = 0
        #expect(advantages(estimator, [known]) == [[0.5, 0.5, 0, 0.5, 0, 0.5], [-0.5, 0, -0.5, -0.5]])
    }

    @Test func trlScalesByTheWholeBatch() {
        var estimator = GRPO()
        (estimator.normalize, estimator.epsilon) = (.batch, 1e-4)
        let groups = [episodes([1, 0], lengths: [1, 1]), episodes([1, 1], lengths: [1, 1])]
        // Rewards 1, 0, 1, 1: Bessel's deviation is .5.
        let found = advantages(estimator, groups).flatMap { $0 }
        #expect(firstDifference(found, [0.5 / 0.5001, -0.5 / 0.5001, 0, 0], absolute: 1e-12) == nil)
    }
}

@Suite struct CorrectionTests {
    private let trainer: [Float] = [0, -1, -2, -1], sampler: [Float] = [0, -1.5, -1.5, -2],
        mask = [false, true, true, true]

    private func weights(_ edit: (inout ImportanceCorrection) -> Void) -> [Double] {
        var correction = ImportanceCorrection()
        edit(&correction)
        return correction.weights(trainer: trainer, sampler: sampler, mask: mask)
    }

    @Test func tokenWeightsAreTruncatedOrMasked() {
        // Ratios e^.5, e^-.5, e^1.
        #expect(firstDifference(weights { $0.level = .token }, [0, exp(0.5), exp(-0.5), 2], absolute: 1e-6) == nil)
        #expect(
            firstDifference(
                weights { ($0.level, $0.mode) = (.token, .mask) }, [0, exp(0.5), exp(-0.5), 0], absolute: 1e-6) == nil)
    }

    @Test func sequencesAreWeighedByProductOrGeometricMean() {
        #expect(
            firstDifference(
                weights { ($0.level, $0.high) = (.sequenceSum, 10) }, [0, exp(1), exp(1), exp(1)], absolute: 1e-6)
                == nil)
        #expect(
            firstDifference(
                weights { $0.level = .sequenceMean }, [0, exp(1 / 3), exp(1 / 3), exp(1 / 3)], absolute: 1e-6) == nil)
        #expect(weights { ($0.level, $0.mode) = (.sequenceSum, .mask) } == [0, 0, 0, 0])
    }

    @Test func thePlanMultipliesWeightsAndShowsStaleness() {
        var policy = CreditRecipe()
        policy.advantage = RawReward()
        var input = CreditInput(groupID: "a", reward: 1, correct: true, isTruncated: false, mask: mask, entropy: [])
        input.columns = [.oldLogprobs: trainer, .rolloutLogprobs: sampler]
        let plain = policy.assign([input], seed: 0)
        #expect(isClose(plain.staleness.meanDifference, 2 / 3.0, absolute: 1e-6) && plain.staleness.largest == 1)
        policy.correction.level = .token
        let corrected = policy.assign([input], seed: 0)
        for t in 1...3 {
            #expect(
                isClose(
                    corrected.kept[0].weights[t], plain.kept[0].weights[t] * weights { $0.level = .token }[t],
                    absolute: 1e-9))
        }
        input.columns[.oldLogprobs] = sampler
        #expect(policy.assign([input], seed: 0).warnings.contains { $0.contains("sampler's own") })
    }
}

@Suite struct PairTests {
    private func input(_ group: String, _ correct: Bool, _ length: Int) -> CreditInput {
        CreditInput(
            groupID: group, reward: correct ? 1 : 0, correct: correct, isTruncated: false,
            mask: [false] + .init(repeating: true, count: length), entropy: [])
    }

    @Test func correctAnswersMeetTheWrongOneOfClosestLength() {
        var policy = CreditRecipe()
        policy.pairs = PreferencePairs()
        policy.aggregation = SequenceMeanTokenSum()
        let plan = policy.assign(
            [
                input("a", true, 5), input("a", false, 9), input("a", false, 4), input("a", true, 8),
                input("b", true, 3),
            ], seed: 1)
        #expect(plan.kept.map(\.index) == [0, 2, 3, 1] && plan.kept.map(\.pair) == [0, 0, 1, 1])
        #expect(plan.kept.map { $0.advantages[1] } == [1, -1, 1, -1])
        // A pair's weight is that of its two rows: one over the pairs.
        #expect(plan.kept.allSatisfy { isClose($0.weights[1], 0.25, absolute: 1e-12) })
        #expect(plan.dropped.map(\.index) == [4] && plan.dropped[0].reason == "no_pair")
    }

    @Test func aGroupMakesAtMostItsNumberOfPairs() {
        var policy = CreditRecipe()
        policy.pairs = PreferencePairs()
        let inputs = (0..<9).map { input("a", $0 != 4, 3) }
        #expect(policy.assign(inputs, seed: 1).kept.count == 8)
        policy.pairs?.perGroup = nil
        #expect(policy.assign(inputs, seed: 1).kept.count == 16)
        #expect(policy.assign(inputs, seed: 1).kept.filter { $0.index == 4 }.count == 8)
    }
}

@Suite struct RejectionTests {
    private func inputs(_ rewards: [Double], lengths: [Int]) -> [CreditInput] {
        zip(rewards, lengths).map {
            CreditInput(
                groupID: "a", reward: $0, correct: $0 > 0, isTruncated: false, mask: .init(repeating: true, count: $1),
                entropy: [])
        }
    }

    @Test func codeParityKeepsRejectedRowsInTheDenominator() {
        var policy = CreditRecipe(), raft = PositiveReward()
        let rows = inputs([1, 1, -1, -1], lengths: [3, 3, 9, 9])
        policy.advantage = raft
        // Σ w·A·lp with lp = -1 on every token: 1.0 over the kept rows, .25 over all.
        func loss(_ plan: InMemoryPlan) -> Double {
            plan.kept.reduce(0) { sum, row in sum + zip(row.weights, row.advantages).reduce(0) { $0 + $1.0 * $1.1 } }
        }
        #expect(isClose(loss(policy.assign(rows, seed: 0)), 1, absolute: 1e-12))
        raft.rejected = .zero
        policy.advantage = raft
        #expect(isClose(loss(policy.assign(rows, seed: 0)), 0.25, absolute: 1e-12))
    }

    @Test func reinforceRejIsTheWorkedExample() {
        var policy = CreditRecipe()
        policy.advantage = RawReward()
        policy.filter.degenerateGroups = .drop
        #expect(
            policy.assign(inputs([1, -1, -1, 1], lengths: [1, 1, 1, 1]), seed: 0).kept.map { $0.advantages[0] } == [
                1, -1, -1, 1,
            ])
        for rewards in [[1.0, 1, 1, 1], [-1, -1]] {
            let plan = policy.assign(inputs(rewards, lengths: rewards.map { _ in 1 }), seed: 0)
            #expect(plan.kept.isEmpty && plan.resample == ["a"])
        }
        policy.filter.degenerateGroups = .zero
        #expect(policy.assign(inputs([1, 1], lengths: [1, 1]), seed: 0).kept.map { $0.advantages[0] } == [0, 0])
    }

    @Test func groupsOutsideTheAccuracyRangeAreDropped() {
        var policy = CreditRecipe()
        (policy.filter.minAccuracy, policy.filter.maxAccuracy) = (0.2, 0.8)
        #expect(policy.assign(inputs([1, 0, 0, 0, 0], lengths: [1, 1, 1, 1, 1]), seed: 0).dropped.isEmpty)
        let plan = policy.assign(inputs([1, 1, 1, 1, 1, 0], lengths: [1, 1, 1, 1, 1, 1]), seed: 0)
        #expect(plan.dropped.count == 6 && plan.dropped[0].reason == "accuracy_out_of_range")
    }
}

@Suite struct CurrentMaskTests {
    private var policy: CreditRecipe {
        var policy = CreditRecipe(), mask = EntropyMask()
        (mask.top, mask.policy) = (0.5, .current)
        policy.mask = mask
        return policy
    }

    private let rows = [
        CurrentRow(groupID: "a", mask: [false, true, true], entropy: [0, 3, 1]),
        CurrentRow(groupID: "b", mask: [true, true, false], entropy: [2, 0.5, 9]),
    ]

    @Test func theFactorsAreTheMaskAndTheSmallerDenominator() throws {
        // Four tokens; τ is the median of 3, 1, 2, .5: 1.5. Two are kept, so each weighs twice as much.
        let factors = try #require(policy.currentMask(rows, seed: 0))
        #expect(factors == [[0, 2, 0], [2, 0, 0]])
        var all = policy
        all.mask?.normalizer = .all
        #expect(all.currentMask(rows, seed: 0) == [[0, 1, 0], [1, 0, 0]])
        var alone = policy
        alone.mask?.scope = .rollout
        #expect(alone.currentMask(rows, seed: 0) == [[0, 2, 0], [2, 0, 0]])
        var settled = policy
        settled.mask?.policy = .plan
        #expect(settled.currentMask(rows, seed: 0) == nil)
    }

    @Test func thePlanLeavesSuchAMaskOpen() {
        let inputs = rows.map {
            CreditInput(groupID: $0.groupID, reward: 1, correct: nil, isTruncated: false, mask: $0.mask, entropy: [])
        }
        #expect(!policy.needsEntropy)
        let plan = policy.assign(inputs, seed: 0)
        #expect(plan.kept.allSatisfy { $0.entropyMask == $0.mask } && plan.kept[0].weights == [0, 0.25, 0.25])
    }
}
