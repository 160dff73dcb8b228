import Foundation
import Rewards
import TestSupport
import Testing

/// The rewards that claim to score as verl does, against what verl said of 800 answers
/// (conformance/make_reward_fixture.py).
@Suite struct VerlRewardTests {
    private struct Case: Decodable {
        let text: String
        let truth: String
        let gsm8k: Float
        let gsm8k_flexible: Float
        let math: Float
        let dapo_math: Float
        let dapo_math_strict: Float
    }

    private static let cases: [Case] = {
        let data = FileManager.default.contents(atPath: fixture("rewards.json")) ?? Data()
        return (try? JSONDecoder().decode([Case].self, from: data)) ?? []
    }()

    private func check(_ reward: any RewardFunction, _ expected: (Case) -> Float) {
        for one in Self.cases {
            let outcome = reward.judge(RewardInput(completion: one.text, referenceAnswer: one.truth))
            #expect(
                outcome.reward == expected(one),
                "\(type(of: reward)): \(one.text.suffix(80).debugDescription) against \(one.truth.debugDescription), found \(outcome.extracted.debugDescription)"
            )
        }
    }

    @Test func everyAnswerScoresAsInVerl() {
        #expect(Self.cases.count == 800)
        check(GSM8K()) { $0.gsm8k }
        check(GSM8KFlexible()) { $0.gsm8k_flexible }
        check(MathReward()) { $0.math }
        check(DapoMath()) { $0.dapo_math }
        check(DapoMathStrict()) { $0.dapo_math_strict }
    }

    @Test func dataSourcesFindTheirRewards() {
        func reward(_ source: String, _ text: String, _ truth: String) -> Float? {
            AutomaticReward().judge(RewardInput(completion: text, referenceAnswer: truth, dataSource: source)).reward
        }
        #expect(reward("openai/gsm8k", "#### 5", "5") == 1 && reward("openai/gsm8k", "5", "5") == 0)
        #expect(reward("HuggingFaceH4/MATH-500", "\\boxed{\\frac12}", "\\frac{1}{2}") == 1)
        for source in ["math_dapo", "math", "aime24", "aime_2025"] { #expect(reward(source, "Answer: 6", "5") == -1) }
        #expect(reward("", "The result is 0.50", "1/2") == 1)
    }
}
