import Credit
import Foundation
import TestSupport
import Testing

/// Several rewards of one rollout: their weighted sum, and each compared by itself.
@Suite struct RewardComponentTests {
    private func inputs(_ rewards: [(group: String, correct: Double, format: Double?, length: Int)]) -> [CreditInput] {
        rewards.map { row in
            var input = CreditInput(
                groupID: row.group, reward: row.correct, correct: row.correct > 0, isTruncated: false,
                mask: .init(repeating: true, count: row.length), entropy: [])
            input.rewards = row.format.map { ["format": $0] } ?? [:]
            return input
        }
    }

    private func recipe(_ estimator: any AdvantageEstimator) -> CreditRecipe {
        var recipe = CreditRecipe()
        recipe.reward.components = RewardComponents(["correct": 1, "format": 0.5])
        recipe.advantage = estimator
        return recipe
    }

    private var worked: [CreditInput] {
        inputs([("a", 1, 1, 3), ("a", 0, 1, 1), ("b", 1, 0, 2), ("b", 1, 1, 2)])
    }

    private func advantages(_ recipe: CreditRecipe, _ inputs: [CreditInput]) -> [Double] {
        recipe.assign(inputs, seed: 0).kept.map { $0.advantages[0] }
    }

    @Test func gdpoIsTheWorkedExample() {
        var gdpo = GDPO()
        #expect(
            firstDifference(
                advantages(recipe(gdpo), worked), [1.095445, -1.095445, -0.547723, 0.547723], absolute: 2e-6) == nil)
        gdpo.whiten = .none
        #expect(
            firstDifference(
                advantages(recipe(gdpo), worked), [0.707106, -0.707106, -0.353553, 0.353553], absolute: 2e-6) == nil)
        gdpo.whiten = .tokens
        #expect(
            firstDifference(
                advantages(recipe(gdpo), worked), [0.935414, -1.559024, -0.935414, 0.311805], absolute: 2e-6) == nil)
        (gdpo.whiten, gdpo.epsilon, gdpo.whitenEpsilon) = (.rows, 1e-4, 1e-4)
        #expect(
            firstDifference(
                advantages(recipe(gdpo), worked), [1.095275, -1.095275, -0.547638, 0.547638], absolute: 2e-6) == nil)
    }

    /// Of the sum nobody can tell which of the rewards it was.
    @Test func otherEstimatorsSeeTheWeightedSum() {
        let plan = recipe(GRPO()).assign(worked, seed: 0)
        #expect(plan.kept.map(\.reward) == [1.5, 0.5, 1, 1.5])
        #expect(
            firstDifference(
                plan.kept.map { $0.advantages[0] }, [0.707106, -0.707106, -0.707105, 0.707105], absolute: 2e-6) == nil)
    }

    @Test func aMissingRewardCountsNothingAndIsSaid() {
        var gdpo = GDPO()
        gdpo.whiten = .none
        let rows = inputs([("a", 1, 1, 1), ("a", 1, 0, 1), ("a", 1, nil, 1)])
        let plan = recipe(gdpo).assign(rows, seed: 0)
        // Mean and deviation are of the two that have one.
        #expect(firstDifference(plan.kept.map { $0.advantages[0] }, [0.353553, -0.353553, 0], absolute: 2e-6) == nil)
        #expect(plan.kept[2].reward == 1)
        #expect(plan.warnings.contains { $0.contains("1 rollouts have no reward 'format'") })
    }

    @Test func aRewardThatNobodyGaveIsRefused() {
        let refusal = recipe(GDPO()).assign(inputs([("a", 1, nil, 1), ("a", 0, nil, 1)]), seed: 0).refusal ?? ""
        #expect(refusal.contains("'format'") && refusal.contains("--judge format=COMMAND"))
    }

    @Test func aGroupGoesOnlyWhenAllRewardsAreEqual() {
        var recipe = recipe(GDPO())
        recipe.filter.degenerateGroups = .drop
        let rows = inputs([("a", 1, 1, 1), ("a", 1, 0, 1), ("b", 0, 1, 1), ("b", 0, 1, 1)])
        let plan = recipe.assign(rows, seed: 0)
        #expect(plan.kept.map(\.index) == [0, 1] && plan.resample == ["b"])
    }

    @Test func withoutNamesThereIsOneReward() {
        var recipe = CreditRecipe(), gdpo = GDPO()
        gdpo.whiten = .none
        recipe.advantage = gdpo
        #expect(firstDifference(advantages(recipe, worked), [0.707106, -0.707106, 0, 0], absolute: 2e-6) == nil)
    }
}

/// What a teacher says of the sampled tokens.
@Suite struct TeacherTests {
    private func term(_ edit: (inout TeacherTerm) -> Void) -> TeacherTerm {
        var term = TeacherTerm()
        edit(&term)
        return term
    }

    private let mask = [true, true, true]

    @Test func theDifferenceIsTheWorkedExample() {
        let old: [Float] = [-0.5, -1.2, -0.1], teacher: [Float] = [-0.7, -0.6, -0.1], advantages = [0.5, 0.5, 0.5]
        let whole = term { _ in }.applied(to: advantages, teacher: teacher, old: old, mask: mask)
        #expect(firstDifference(whole, [0.3, 1.1, 0.5], absolute: 1e-6) == nil)
        let half = term { $0.coef = 0.5 }.applied(to: advantages, teacher: teacher, old: old, mask: mask)
        #expect(firstDifference(half, [0.4, 0.8, 0.5], absolute: 1e-6) == nil)
        let own = term { _ in }.applied(to: advantages, teacher: old, old: old, mask: mask)
        #expect(own == advantages)
    }

    @Test func rlsdIsTheWorkedExample() {
        let teacher: [Float] = [0.3, -0.1, 0.05], old: [Float] = [0, 0, 0], rlsd = term { $0.form = .rlsd }
        func found(_ advantage: Double, _ term: TeacherTerm) -> [Double] {
            term.applied(to: [advantage, advantage, advantage], teacher: teacher, old: old, mask: mask)
        }
        #expect(firstDifference(found(1, rlsd), [1.1, 0.952419, 1.025636], absolute: 2e-6) == nil)
        #expect(firstDifference(found(-1, rlsd), [-0.9, -1.052585, -0.975615], absolute: 2e-6) == nil)
        #expect(found(0, rlsd) == [0, 0, 0])
        #expect(found(1, term { ($0.form, $0.negativeOnly) = (.rlsd, true) }) == [1, 1, 1])
    }

    /// Advantages that a plan made with its own log-probabilities, at the policy as it stands: -.5, -1.2, -.1 against a
    /// teacher's -.2, -1.3, -.15.
    @Test func aTeacherIsHeldAgainstThePolicyAsItStands() {
        let old: [Float] = [-0.9, -1.2, -0.2], teacher: [Float] = [-0.2, -1.3, -0.15],
            now: [Float] = [-0.5, -1.2, -0.1]
        let mask = [true, true, true]
        let planned = term { $0.policy = .current }.applied(to: [0, 0, 0], teacher: teacher, old: old, mask: mask)
        let moved = term { $0.policy = .current }.caughtUp(
            planned.map { Float($0) }, old: old, now: now, mask: [true, true, false])
        #expect(firstDifference(moved.prefix(2).map { Double($0) }, [0.3, -0.1], absolute: 1e-6) == nil)
        #expect(isClose(Double(moved[2]), 0.05, absolute: 1e-6))
        #expect(term { ($0.policy, $0.form) = (.current, .rlsd) }.problems.count == 1)
    }

    @Test func whoHadNothingToBeToldGetsNothing() {
        var recipe = CreditRecipe()
        (recipe.advantage, recipe.teacher) = (NoAdvantage(), term { $0.unprivileged = .neutral })
        var input = CreditInput(
            groupID: "g", reward: 0, correct: nil, isTruncated: false, mask: [false, true], entropy: [])
        input.columns = [.oldLogprobs: [0, -0.5], .teacherLogprobs: [0, -0.2]]
        #expect(
            recipe.readsTeacherPrompt
                && isClose(recipe.assign([input], seed: 0).kept[0].advantages[1], 0.3, absolute: 1e-6))
        input.isTaught = false
        #expect(recipe.assign([input], seed: 0).kept[0].advantages == [0, 0])
    }

    @Test func aTeacherThatExcludesATokenIsBounded() {
        let found = term { _ in }.applied(to: [0], teacher: [-.infinity], old: [-1], mask: [true])
        #expect(found == [-29])
    }

    /// Groups of one, without contrast or without a verdict are taught all the same.
    @Test func thePlanAddsWhatTheTeacherSays() {
        var recipe = CreditRecipe()
        (recipe.advantage, recipe.teacher) = (NoAdvantage(), TeacherTerm())
        var input = CreditInput(
            groupID: "a", reward: 1, correct: nil, isTruncated: true, mask: [false, true, true], entropy: [])
        input.columns = [.oldLogprobs: [0, -0.5, -1.2], .teacherLogprobs: [0, -0.7, -.infinity]]
        let plan = recipe.assign([input], seed: 0)
        #expect(firstDifference(plan.kept[0].advantages, [0, -0.2, -28.8], absolute: 1e-6) == nil)
        #expect(plan.kept[0].excludedByTeacher == 1)
        #expect(recipe.columns == [.oldLogprobs, .teacherLogprobs])
    }
}
