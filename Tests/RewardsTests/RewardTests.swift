import Rewards
import TestSupport
import Testing

@Suite struct RewardTests {
    private func judge(_ reward: any RewardFunction, _ completion: String, _ reference: String) -> RewardOutcome {
        reward.judge(RewardInput(completion: completion, referenceAnswer: reference))
    }

    @Test(arguments: [
        ("so #### 42", "42", "42"), ("#### 1,234", "1234", "1234"), ("#### 7 then #### -8.", "-8.", "-8."),
        ("#### $5", "5", ""), ("no mark 42", "42", ""),
        ("####42", "42", ""),
    ]) func gsm8kTakesTheLastMarkedNumberToTheLetter(_ completion: String, _ reference: String, _ extracted: String) {
        let outcome = judge(GSM8K(), completion, reference)
        #expect(outcome.extracted == extracted)
        #expect(outcome.correct == !extracted.isEmpty)
        #expect(outcome.reward == (extracted.isEmpty ? 0 : 1))
    }

    @Test func gsm8kLooksAtTheLast300CharactersOnly() {
        #expect(judge(GSM8K(), "#### 42" + String(repeating: "x", count: 294), "42").correct == false)
        #expect(judge(GSM8K(), "#### 42" + String(repeating: "x", count: 293), "42").correct == true)
        // Scalars, as Python counts: each of these characters is two.
        #expect(judge(GSM8K(), "#### 42" + String(repeating: "e\u{301}", count: 147), "42").correct == false)
    }

    @Test func flexibleGsm8kTakesTheLastNumberOfAnyKind() {
        #expect(judge(GSM8K(flexible: true), "it is 41, no: 42 .", "42").correct == true)
    }

    @Test(arguments: [
        ("\\boxed{\\frac{1}{2}}", "0.5", "correct"), ("the answer is 1,000", "1000", "correct"),
        ("Answer: 50%", "50", "correct"), ("#### 1 1/2", "1.5", "correct"),
        ("\\boxed{1.5\\times 10^{3}}", "1500", "correct"), ("\\boxed{12\\text{ cm}}", "12", "correct"),
        ("x = -7", "-7", "correct"), ("3/4", "0.76", "wrong"),
        ("\\boxed{\\boxed{3}}", "4", "wrong"), ("\\boxed{\\sqrt{2}}", "1.414", "undecided"),
        ("\\boxed{x+1}", "x+1", "correct"), ("nothing", "3", "no_answer"),
        ("Answer: 99999999999999999999999999999999999999999999", "1", "undecided"), ("0.333", "1/3", "wrong"),
        ("5", "", "no_reference"),
    ]) func numbersAreComparedExactly(_ completion: String, _ reference: String, _ verdict: String) {
        #expect(judge(NumericReward(), completion, reference).verdict.rawValue == verdict)
    }

    @Test func whatIsNotJudgedHasNoReward() {
        for outcome in [
            judge(NumericReward(), "\\boxed{\\sqrt{2}}", "2"), judge(GSM8K(), "#### 1", ""),
            judge(GivenReward(), "", ""),
        ] {
            #expect(outcome.reward == nil && outcome.correct == nil)
        }
    }

    @Test func aGivenRewardIsAVerdictOnlyWhereItIsOne() {
        func given(_ reward: Float) -> RewardOutcome {
            AutomaticReward().judge(RewardInput(completion: "", referenceAnswer: "", givenReward: reward))
        }
        #expect(given(1).correct == true && given(0).correct == false && given(-1).correct == false)
        #expect(given(0.7).correct == nil && given(0.7).reward == 0.7)
    }

    @Test func noTextMakesARewardTrapAndTheSameTextGetsTheSameVerdict() {
        let pieces = [
            "", "#### ", "-", "\\boxed{", "}", "{", "\\frac{1}{0}", "1/0", "é", "🎲", "9,9,9", ".", "..", "e", "1e999",
            "10^", "\n", "Answer:", "\u{0}",
        ]
        var generator = SplitMix(seed: 8)
        for _ in 0..<2000 {
            let text = (0..<Int(generator.next() % 9)).map { _ in pieces[Int(generator.next() % UInt64(pieces.count))] }
                .joined()
            let reference = pieces[Int(generator.next() % UInt64(pieces.count))]
            for type in RewardRegistry.all {
                #expect(judge(type.init(), text, reference) == judge(type.init(), text, reference))
            }
        }
    }
}
