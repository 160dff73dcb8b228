import Credit
import Foundation
import TestSupport
import Testing

/// Baselines and factors of 2024 to 2026, by their worked numbers.
@Suite struct BaselineTests {
    private func advantages(_ estimator: any AdvantageEstimator, _ groups: [[Double]]) -> [[Double]] {
        estimator.credit(groups.map { $0.map { Episode(reward: $0, mask: [true]) } }).map {
            $0.map { $0?.advantages[0] ?? .nan }
        }
    }

    private func episode(_ reward: Double, length: Int, _ columns: [TokenColumn: [Float]] = [:]) -> Episode {
        Episode(reward: reward, correct: nil, mask: .init(repeating: true, count: length), columns: columns)
    }

    @Test func maxRLDividesByTheMean() {
        var maxRL = GRPO()
        maxRL.normalize = .mean
        #expect(advantages(maxRL, [[1, 0, 0, 0]]) == [[3, -1, -1, -1]])
        let three = advantages(maxRL, [[1, 1, 1, 0]])[0]
        #expect(firstDifference(three, [1 / 3.0, 1 / 3.0, 1 / 3.0, -1], absolute: 1e-12) == nil)
        #expect(advantages(maxRL, [[0, 0], [1, 1], [1]]) == [[0, 0], [0, 0], [0]])
        #expect(maxRL.unread.keys.sorted() == ["ddof", "epsilon"])
    }

    @Test func maxRLRefusesRewardsBelowZero() {
        var policy = CreditRecipe(), maxRL = GRPO()
        maxRL.normalize = .mean
        policy.advantage = maxRL
        let inputs = [1.0, -1].map {
            CreditInput(groupID: "a", reward: $0, correct: nil, isTruncated: false, mask: [true], entropy: [])
        }
        let refusal = policy.assign(inputs, seed: 0).refusal ?? ""
        #expect(refusal.contains("group 'a'") && refusal.contains("-1.0") && refusal.contains("reward.wrong=0"))
    }

    @Test func gpgScalesByWhatCounts() {
        var gpg = GRPO()
        (gpg.normalize, gpg.scale) = (.none, .nonzero)
        let groups = [[1.0, 0, 0, 1], [0, 0, 0, 0]]
        #expect(advantages(gpg, groups) == [[2, -2, -2, 2], [0, 0, 0, 0]])
        gpg.scale = .mixed
        #expect(advantages(gpg, groups) == [[1, -1, -1, 1], [0, 0, 0, 0]])
        #expect(advantages(gpg, [[0, 0]]) == [[0, 0]])
        gpg.normalize = .batch
        #expect(gpg.problems.first?.contains("advantage.scale is mixed with normalize batch") == true)
    }

    @Test func opoWeighsTheBaselineByLength() {
        let group = [(1.0, 10), (0, 30), (1, 20)].map { episode($0.0, length: $0.1) }
        let found = OPO().credit([group])[0].map { $0?.advantages[0] ?? .nan }
        #expect(firstDifference(found, [0.5, -0.5, 0.5], absolute: 1e-12) == nil)
        #expect(advantages(OPO(), [[1], [0.9, 0.9]]) == [[0], [0, 0]])
        var raw = OPO()
        raw.groupOfOne = .raw
        #expect(advantages(raw, [[0.7]]) == [[0.7]])
    }

    @Test func reMaxSubtractsTheGreedyRollout() {
        var policy = CreditRecipe()
        policy.advantage = ReMax()
        var inputs = [1.0, 0, 1, 1].map {
            CreditInput(
                groupID: "a", reward: $0, correct: $0 > 0, isTruncated: false, mask: [false, true, true], entropy: [])
        }
        #expect(policy.assign(inputs, seed: 0).refusal?.contains("no greedy rollout") == true)
        inputs[3].isGreedy = true
        let plan = policy.assign(inputs, seed: 0)
        #expect(plan.kept.map { $0.advantages[1...2].map { $0 } } == [[0, 0], [-1, -1], [0, 0]])
        #expect(plan.dropped.map(\.index) == [3] && plan.dropped[0].reason == "baseline")
        // A penalty is charged for what is still to come; a second baseline counts as much as the first.
        inputs[0].tokenRewards = [0, -0.5, -0.25]
        inputs[1].isGreedy = true
        let penalised = policy.assign(inputs, seed: 0).kept
        #expect(penalised.map(\.index) == [0, 2] && penalised[0].advantages == [0, 1 - 0.75 - 0.5, 1 - 0.25 - 0.5])
    }

    @Test func theBestOfAGroupGetsItsLead() {
        let rewards = [0.2, 1, 0.7, 0.1]
        let found = advantages(PassAtK(), [rewards])[0]
        #expect(firstDifference(found, [0, 0.707105, 0, 0], absolute: 1e-6) == nil)
        var plain = PassAtK()
        plain.normalize = .none
        #expect(firstDifference(advantages(plain, [rewards])[0], [0, 0.3, 0, 0], absolute: 1e-12) == nil)
        #expect(advantages(PassAtK(), [[1, 1, 0], [1], [0, 0]]) == [[0, 0, 0], [0], [0, 0]])
    }

    @Test func drawsOfKAreCreditedInClosedForm() {
        var analytic = PassAtK()
        (analytic.form, analytic.k) = (.analytic, 3)
        let found = advantages(analytic, [[1, 1, 0, 0, 0, 0]])[0]
        #expect(firstDifference(found, [0.5, 0.5, -0.25, -0.25, -0.25, -0.25], absolute: 1e-12) == nil)
        for (right, all, k) in [(1, 5, 2), (3, 8, 4), (2, 9, 1), (4, 6, 2)] {
            analytic.k = k
            let credit = advantages(analytic, [(0..<all).map { $0 < right ? 1 : 0 }])[0]
            #expect(isClose(credit.reduce(0, +), 0, absolute: 1e-12) && credit[0] > 0 && credit[all - 1] < 0)
        }
        // Every draw of k has a right one, or none has.
        analytic.k = 3
        #expect(advantages(analytic, [[1, 1, 0, 0], [0, 0, 0]]) == [[0, 0, 0, 0], [0, 0, 0]])
    }

    @Test func aGroupSmallerThanADrawIsNamed() {
        var policy = CreditRecipe(), analytic = PassAtK()
        (analytic.form, analytic.k) = (.analytic, 4)
        policy.advantage = analytic
        let inputs = [1.0, 0].map {
            CreditInput(groupID: "a", reward: $0, correct: $0 > 0, isTruncated: false, mask: [true], entropy: [])
        }
        let plan = policy.assign(inputs, seed: 0)
        #expect(plan.kept.map { $0.advantages[0] } == [0, 0])
        #expect(plan.warnings.contains { $0.contains("1 groups have fewer rollouts than advantage.k, 4") })
    }

    private static func logs(_ probabilities: [Double]) -> [Float] { probabilities.map { Float(log($0)) } }

    private var otbGroup: [Episode] {
        [
            episode(
                1, length: 3, [.oldLogprobs: Self.logs([0.9, 0.5, 0.8]), .sumPSquared: [0.82, 0.4, 0.7]]),
            episode(0, length: 2, [.oldLogprobs: Self.logs([0.6, 0.3]), .sumPSquared: [0.45, 0.25]]),
        ]
    }

    @Test func theOptimalTokenBaselineIsTheWorkedExample() {
        let found = OptimalTokenBaseline().credit([otbGroup])[0].map { $0?.advantages ?? [] }
        #expect(firstDifference(found[0], [0.925926, 0.681818, 1], absolute: 1e-6) == nil)
        #expect(firstDifference(found[1], [-0.074074, -0.318182], absolute: 1e-6) == nil)
        var own = OptimalTokenBaseline()
        own.tail = .own
        #expect(own.credit([otbGroup])[0][0]?.advantages[2] == 0)
        var raw = OptimalTokenBaseline()
        #expect(raw.credit([[otbGroup[0]]])[0][0]?.advantages == [0, 0, 0])
        raw.groupOfOne = .raw
        #expect(raw.credit([[otbGroup[0]]])[0][0]?.advantages == [1, 1, 1])
    }

    @Test func aCorrectionWeighsVariationsBySquares() {
        var group = otbGroup
        group[0].correctionWeights = [2, 1, 1]
        group[1].correctionWeights = [1, 0.5]
        // W = .08, .48 | .25, .4125.
        let found = OptimalTokenBaseline().credit([group])[0][0]?.advantages ?? []
        #expect(firstDifference(found, [1 - 0.08 / 0.33, 1 - 0.48 / 0.8925, 1], absolute: 1e-6) == nil)
    }

    private var gtpoGroup: [Episode] {
        [(1.0, [1, 2, 0.5]), (1, [1, 0.5]), (0, [0.5, 1]), (0, [2])].map { (reward: Double, entropy: [Float]) in
            episode(reward, length: entropy.count, [.entropy: entropy])
        }
    }

    @Test(arguments: GTPO.Scope.allCases) func gtpoIsTheWorkedExample(_ scope: GTPO.Scope) {
        let expected: [(GTPO.Normalization, [Double])] = [
            (.none, [1.1, 1.16, 1.1, 1.1, 1.04, -1.16, -1.1, -1.04]),
            (.separate, [0, 1.581133, 0, 0, -1.581133, -1.224742, 0, 1.224742]),
            (
                .joint,
                [0.773983, 0.830272, 0.773983, 0.773983, 0.717693, -1.346261, -1.289971, -1.233682]
            ),
        ]
        for (normalize, numbers) in expected {
            var gtpo = GTPO()
            (gtpo.normalize, gtpo.scope) = (normalize, scope)
            let found = gtpo.credit([gtpoGroup])[0].flatMap { $0?.advantages ?? [] }
            #expect(firstDifference(found, numbers, absolute: 1e-6) == nil, "\(normalize): \(found)")
        }
    }

    /// The code's batch: groups are one set.
    @Test func gtpoOfThePlanComparesAcrossGroups() {
        var gtpo = GTPO()
        gtpo.scope = .plan
        let whole = gtpo.credit([gtpoGroup])[0].flatMap { $0?.advantages ?? [] }
        let split = gtpo.credit([Array(gtpoGroup[..<1]), Array(gtpoGroup[1...])]).joined().flatMap {
            $0?.advantages ?? []
        }
        #expect(firstDifference(split, whole, absolute: 1e-12) == nil)
    }

    @Test func gtpoOfASetWithoutVarianceIsNothing() {
        let one = [episode(1, length: 2, [.entropy: [1, 3]]), episode(0, length: 1, [.entropy: [0]])]
        #expect(GTPO().credit([one])[0].flatMap { $0?.advantages ?? [] } == [0, 0, 0])
        #expect(!GTPO().caveats.isEmpty)
    }

    @Test func thePlanSaysWhatSeparateNormalisationDoes() {
        var policy = CreditRecipe()
        policy.advantage = GTPO()
        let inputs = gtpoGroup.map { episode in
            CreditInput(
                groupID: "a", reward: episode.reward, correct: episode.reward > 0, isTruncated: false,
                mask: episode.mask, entropy: episode.columns[.entropy] ?? [])
        }
        let plan = policy.assign(inputs, seed: 0)
        #expect(plan.warnings.contains { $0.contains("separate") })
        #expect(
            firstDifference(
                plan.kept.flatMap(\.advantages), [0, 1.581133, 0, 0, -1.581133, -1.224742, 0, 1.224742],
                absolute: 1e-6) == nil)
    }
}
