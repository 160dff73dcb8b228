import Credit
import Foundation
import Quantiles
import TestSupport
import Testing

@Suite struct AdvantageTests {
    private let rewards = [1.0, 0, 0, 1, 0]

    private func grpo(_ edit: (inout GRPO) -> Void) -> [Double] {
        var estimator = GRPO()
        edit(&estimator)
        return estimator.advantages(rewards: rewards).map { $0 ?? .nan }
    }

    @Test func groupAdvantagesAreTheWorkedNumbers() {
        #expect(
            firstDifference(grpo { _ in }, [1.095443, -0.730295, -0.730295, 1.095443, -0.730295], absolute: 1e-6) == nil
        )
        #expect(firstDifference(Array(grpo { $0.ddof = 0 }.prefix(2)), [1.224742, -0.816495], absolute: 2e-6) == nil)
        #expect(
            firstDifference(Array(grpo { $0.epsilon = 1e-4 }.prefix(2)), [1.095245, -0.730163], absolute: 1e-6) == nil)
        #expect(firstDifference(grpo { $0.normalize = .none }, [0.6, -0.4, -0.4, 0.6, -0.4], absolute: 1e-12) == nil)
        #expect(
            firstDifference(
                RLOO().advantages(rewards: rewards).compactMap { $0 }, [0.75, -0.5, -0.5, 0.75, -0.5],
                absolute: 1e-12) == nil)
    }

    @Test func dapoWithLengthPenaltyIsTheWorkedExample() {
        var shaping = RewardShaping()
        (shaping.correct, shaping.wrong, shaping.overlong) = (1, -1, OverlongPenalty())
        let shaped = zip([true, false, false, true], [100, 100, 20000, 18432]).map {
            shaping.reward(score: 0, isCorrect: $0, length: $1)
        }
        #expect(firstDifference(shaped, [1, -1, -1.8828125, 0.5], absolute: 1e-12) == nil)
        let advantages = GRPO().advantages(rewards: shaped).compactMap { $0 }
        #expect(firstDifference(advantages, [1.010831, -0.491478, -1.154607, 0.635254], absolute: 1e-6) == nil)
    }

    @Test func theOverlongPenaltyFallsInALineAndStopsAtMinusOne() {
        let penalty = OverlongPenalty()
        let expected: [(Int, Double)] = [
            (16384, 0), (16385, -1 / 4096.0), (18432, -0.5), (20479, -4095 / 4096.0), (20480, -1), (20481, -1),
        ]
        for (length, value) in expected { #expect(penalty.penalty(length: length) == value) }
        var step = OverlongPenalty()
        step.cacheLength = 0
        #expect(step.penalty(length: 20480) == 0 && step.penalty(length: 20481) == -1)
    }

    @Test func relativeEstimatorsGiveEqualRewardsExactlyZero() {
        // Three times 0.9 in float32 sums to noise that a division by 1e-6 would blow up to 0.0555.
        for estimator in [GRPO(), RLOO()] as [any GroupEstimator] {
            #expect(estimator.advantages(rewards: [0.9, 0.9, 0.9]) == [0, 0, 0])
            #expect(estimator.advantages(rewards: [1]) == [0])
        }
    }

    @Test func addingAConstantChangesRelativeAdvantagesNot() {
        for estimator in [GRPO(), RLOO()] as [any GroupEstimator] {
            let plain = estimator.advantages(rewards: rewards).compactMap { $0 },
                shifted = estimator.advantages(rewards: rewards.map { $0 + 7 }).compactMap { $0 }
            #expect(firstDifference(plain, shifted, absolute: 1e-12) == nil)
        }
    }

    @Test func raftKeepsPositiveRewardsOnly() {
        #expect(PositiveReward().advantages(rewards: [1, -1, 0, 0.5]) == [1, nil, nil, 0.5])
    }
}

@Suite struct EntropyTests {
    @Test func shapingIsTheWorkedExample() {
        let shaping = EntropyShaping()
        for (entropy, positive, negative) in [
            (0.01, 1.004, -0.996), (0.672, 1.2688, -0.7312), (2.0, 1.5, -0.5), (4.0, 1.5, -0.5),
        ] {
            #expect(isClose(shaping.shaped(1, entropy: entropy), positive, absolute: 1e-9))
            #expect(isClose(shaping.shaped(-1, entropy: entropy), negative, absolute: 1e-9))
            #expect(shaping.shaped(0, entropy: entropy) == 0)
        }
        var flipping = shaping
        flipping.kappa = 0.5
        #expect(!flipping.problems.isEmpty)
    }

    @Test func theThresholdIsTheWorkedExample() {
        // Sorted place 0.8 · 9 = 7.2 → 0.7 + 0.2 · (1.2 - 0.7) = 0.8: token 2 of both rows stays.
        let entropies: [Float] = [0.02, 1.2, 0, 0.7, 0.01, 0.1, 2.0, 0.05, 0.3, 0.5]
        let (kept, threshold) = EntropyMask().keep(entropies)
        #expect(isClose(threshold ?? .nan, 0.8, absolute: 1e-7))
        #expect(kept.indices.filter { kept[$0] } == [1, 6])
    }

    @Test func elevenDistinctValuesKeepThree() {
        #expect(EntropyMask().keep((0..<11).map(Float.init)).kept.count { $0 } == 3)
    }

    @Test func tiesAllStayByQuantileAndAreCountedOutByExactCount() {
        let flat = [Float](repeating: 0, count: 10)
        #expect(EntropyMask().keep(flat).kept == [Bool](repeating: true, count: 10))
        var exact = EntropyMask()
        exact.ties = .exactCount
        #expect(exact.keep(flat).kept == [true, true] + [Bool](repeating: false, count: 8))
        #expect(exact.keep([5]).kept == [true])
        #expect(exact.keep([]).kept.isEmpty)
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>) func theQuantileEqualsOneBySorting(_ seed: UInt64) {
        var generator = SplitMix(seed: seed)
        let values = (0..<Int(1 + generator.next() % 300)).map { _ in Float(generator.next() % 17) / 8 },
            sorted = values.sorted()
        for q in [0, 0.1, 0.5, 0.8, 0.99, 1] {
            let position = q * Double(values.count - 1), low = Int(position), high = min(low + 1, values.count - 1)
            let expected = Double(sorted[low]) + (Double(sorted[high]) - Double(sorted[low])) * (position - Double(low))
            // The rest between two ranks is taken of the decimal, not of its binary neighbour.
            #expect(isClose(quantile(values, q) ?? .nan, expected, absolute: 1e-12))
        }
    }
}

@Suite struct CreditRecipeTests {
    private func inputs(groups: Int = 5, size: Int = 4, seed: UInt64 = 3) -> [CreditInput] {
        var generator = SplitMix(seed: seed)
        return (0..<groups * size).map { index in
            let length = 4 + Int(generator.next() % 6), isCorrect = index / size == 1 ? true : generator.next() % 2 == 0
            return CreditInput(
                groupID: "g\(index / size)", reward: isCorrect ? 1 : 0, correct: isCorrect, isTruncated: index % 7 == 0,
                mask: (0..<length).map { $0 > 1 },
                entropy: (0..<length).map { $0 > 1 ? Float(generator.next() % 1000) / 300 : 0 })
        }
    }

    private var policy: CreditRecipe {
        var policy = CreditRecipe()
        policy.filter.degenerateGroups = .drop
        policy.mask = EntropyMask()
        policy.schedule.groupsPerStep = 2
        return policy
    }

    @Test func tokenMeanWeightsSumToOneInEveryStep() {
        let plan = policy.assign(inputs(), seed: 0)
        for step in Set(plan.kept.map(\.step)) {
            let sum = plan.kept.filter { $0.step == step }.flatMap(\.weights).reduce(0, +)
            #expect(isClose(sum, 1, absolute: 1e-12))
        }
    }

    @Test func aDegenerateGroupIsDroppedWithItsReason() {
        let plan = policy.assign(inputs(), seed: 0)
        #expect(
            plan.dropped.filter { (4..<8).contains($0.index) }.map(\.reason)
                == [String](repeating: "degenerate_group", count: 4))
        #expect(plan.kept.count + plan.dropped.count == 20)
    }

    @Test func truncatedRowsCountInTheirGroupButAreNotTrained() {
        var dropping = policy
        dropping.filter.truncated = .drop
        let all = policy.assign(inputs(), seed: 0), kept = dropping.assign(inputs(), seed: 0)
        #expect(kept.kept.allSatisfy { $0.index % 7 != 0 })
        for row in kept.kept { #expect(all.kept.first { $0.index == row.index }?.advantages == row.advantages) }
    }

    @Test func permutingRowsWithinTheirStepLeavesThePlanUnchanged() {
        var oneStep = policy
        oneStep.schedule.groupsPerStep = nil
        let rows = inputs(), order = Array(rows.indices.reversed())
        let plain = oneStep.assign(rows, seed: 0), permuted = oneStep.assign(order.map { rows[$0] }, seed: 0)
        #expect(plain.kept.count == permuted.kept.count)
        for row in permuted.kept {
            let twin = plain.kept.first { $0.index == order[row.index] }
            #expect(twin?.entropyMask == row.entropyMask)
            #expect(firstDifference(twin?.advantages ?? [], row.advantages, absolute: 1e-12) == nil)
            #expect(firstDifference(twin?.weights ?? [], row.weights, absolute: 1e-12) == nil)
        }
    }

    @Test func nothingIsCreditedWhereTheMaskIsFalse() {
        for row in policy.assign(inputs(), seed: 0).kept {
            #expect(
                row.advantages.prefix(2) == [0, 0] && row.weights.prefix(2) == [0, 0]
                    && row.entropyMask.prefix(2) == [false, false])
        }
    }

    @Test func aggregationsAreTheWorkedExample() {
        // Rows of 3 and 1 tokens, losses 1 2 3 and 4, L = 4.
        var step = StepCounts(countsKept: false, longest: 4)
        let rows: [(trainable: Int, sum: Double)] = [(3, 6), (1, 4)]
        for row in rows { step.add(trainable: row.trainable, kept: row.trainable) }
        func loss(_ aggregation: any Aggregation) -> Double {
            rows.reduce(0) { $0 + aggregation.weight(trainable: $1.trainable, in: step) * $1.sum }
        }
        #expect(isClose(loss(TokenMean()), 2.5, absolute: 1e-12))
        #expect(isClose(loss(SequenceMeanTokenSum()), 5, absolute: 1e-12))
        #expect(isClose(loss(SequenceMeanTokenMean()), 3, absolute: 1e-12))
        #expect(isClose(loss(ConstantDivisor()), 1.25, absolute: 1e-12))
    }

    @Test func aStepWithoutTokensWeighsNothing() {
        for type in AggregationRegistry.all {
            var step = StepCounts(countsKept: true, longest: 0)
            for _ in 0..<2 { step.add(trainable: 0, kept: 0) }
            #expect(type.init().weight(trainable: 0, in: step) == 0, "\(type.name)")
        }
    }

    @Test func shufflingIsSeededAndKeepsStepSizes() {
        var schedule = Schedule()
        (schedule.groupsPerStep, schedule.order) = (3, .shuffled)
        func steps(seed: UInt64) -> [Int] { (0..<8).map { schedule.steps(groups: 8, seed: seed)[$0] } }
        #expect(steps(seed: 4) == steps(seed: 4))
        #expect(steps(seed: 4) != steps(seed: 5))
        #expect(steps(seed: 4).sorted() == [0, 0, 0, 1, 1, 1, 2, 2])
    }
}
