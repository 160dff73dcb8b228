import Foundation
import Rewards
import TestSupport
import Testing

/// What is one number is compared exactly; what isn't is undecided, never right.
@Suite struct NumericRewardTests {
    private func verdict(_ completion: String, _ reference: String) -> String {
        NumericReward().judge(RewardInput(completion: completion, referenceAnswer: reference)).verdict.rawValue
    }

    @Test(arguments: [
        ("\\boxed{1e-9223372036854775808}", "1"), ("Answer: 2 \\times 10^{-9223372036854775808}", "1"),
        ("\\boxed{1e9223372036854775807}", "1"),
        ("\\boxed{1e99999999999999999999999999}", "1"), ("\\boxed{1e-38}", "0"), ("\\boxed{2\\cdot 10^{400}}", "2"),
        ("1e", "1"),
        ("\\boxed{99999999999999999999999999999999999999999}", "9"),
        ("\\boxed{0.00000000000000000000000000000000000000000001}", "0"),
    ]) func whatIsOutOfBoundsIsUndecided(_ completion: String, _ reference: String) {
        #expect(verdict(completion, reference) == "undecided")
    }

    @Test(arguments: [
        ("\\boxed{2\\pi}", "2"), ("\\boxed{3x}", "3"), ("\\boxed{3 x}", "3"), ("\\boxed{2 + \\sqrt{x}}", "2"),
        ("\\boxed{6 > x}", "6"),
        ("\\boxed{1 \\pm x}", "1"), ("\\boxed{5 million}", "5"), ("\\boxed{5\\text{ million}}", "5"),
        ("\\boxed{5!}", "5"), ("\\boxed{5!}", "120"),
        ("\\boxed{3 hours}", "3 minutes"), ("\\boxed{12 \\text{ cm}}", "12 m"), ("\\boxed{2^{3}}", "2"),
        ("\\boxed{2, 3}", "2"),
        ("\\boxed{1.234,567}", "1.234"), ("\\boxed{12,34}", "12"), ("\\boxed{\\{2\\}}", "2"), ("\\boxed{[2, 3]}", "2"),
        ("\\boxed{5 \\text{ or } x}", "5"),
        ("\\boxed{2i}", "2"), ("\\boxed{3xyz}", "3"), ("\\boxed{7 \\pmod{9}}", "7"), ("\\boxed{\\$5}", "£5"),
        ("\\boxed{y = 5}", "x = 5"),
        ("\\boxed{2\\sqrt{3}}", "2"), ("\\boxed{\\frac{2}{x}}", "2"), ("\\boxed{4:30}", "4"), ("\\boxed{10_2}", "10"),
        ("\\boxed{0x10}", "0"),
        ("\\boxed{12 \\text{cm} x}", "12"), ("\\boxed{3 dozen}", "3"), ("\\boxed{7 or more}", "7"),
        ("\\boxed{\\approx 3}", "3"), ("\\boxed{1.2.3}", "1.2"),
        ("\\boxed{1 3/2}", "1"), ("\\boxed{(3, 5)}", "3"), ("\\boxed{\\text{5 and x}}", "5"), ("\\boxed{five}", "5"),
        ("\\boxed{180 minutes}", "3 hours"),
    ]) func whatIsMoreThanANumberIsUndecided(_ completion: String, _ reference: String) {
        #expect(verdict(completion, reference) == "undecided")
    }

    @Test(arguments: [
        ("The answer is $\\frac{1}{2}$.", "1/2", "correct"), ("The answer is $\\frac{1}{2}$.", "2", "wrong"),
        ("The answer is −5.", "-5", "correct"),
        ("The answer is −5.", "5", "wrong"), ("The answer is 1.5e3.", "1500", "correct"),
        ("The answer is $2 \\times 10^{5}$.", "200000", "correct"),
        ("The answer is 3 1/2.", "3.5", "correct"), ("The answer is 1{,}234.", "1234", "correct"),
        ("It is \\fbox{\\frac{3}{4}}", "3/4", "correct"),
        ("10-12", "12", "undecided"), ("on 2024-01-02", "-2", "undecided"), ("between 10 and 12", "12", "undecided"),
        ("3 to 5", "5", "undecided"),
        ("The pair is (3, 5)", "5", "undecided"), ("x = 10 - 7", "7", "undecided"), ("x = 10 - 7", "-7", "undecided"),
        ("the answer is − 5", "-5", "correct"),
        ("so x = - 5", "-5", "correct"), ("- 42", "42", "correct"), ("It is 5 million.", "5", "undecided"),
        ("It is 5\\text{ million}", "5", "undecided"),
        ("about 2 \\pi", "2", "undecided"), ("2 \\times 10^5", "5", "undecided"),
        ("on May 5, 2024", "2024", "undecided"), ("on 5 January", "5", "correct"),
        ("at 4:30", "30", "undecided"), ("version 1.2.3", "3", "undecided"), ("x^2", "2", "undecided"),
        ("H2O", "2", "undecided"),
        ("3 + 4 = 7", "7", "correct"), ("So $3 + 4 = 7$ apples.", "7", "correct"),
        ("We get 12 apples", "12", "correct"), ("It costs $6.", "6", "correct"),
        ("It costs $5 and then $6 each", "6", "correct"), ("It costs $5. Then it is $\\frac{1}{2}$.", "0.5", "correct"),
        ("it is **42**.", "42", "correct"),
        ("(42)", "42", "correct"), ("\\(x = 42\\)", "42", "correct"), ("5 000 000", "0", "undecided"),
        ("the 5th", "5", "undecided"), ("5-year", "5", "undecided"),
        ("10–12", "12", "undecided"), ("1/2/2024", "2024", "undecided"), ("it is 50 %", "0.5", "correct"),
        ("it is 50 percent", "1/2", "correct"),
        ("3/4", "4", "wrong"), ("1 + 2", "2", "undecided"), ("2 x 3", "3", "undecided"), ("1, 2, 3", "3", "undecided"),
        ("13\\%, 22e3.", "22000", "undecided"), ("14.85 \\text{ or } -23.", "-23", "undecided"),
        ("5 or 6", "6", "undecided"),
    ]) func theLastNumberIsTakenWhole(_ completion: String, _ reference: String, _ expected: String) {
        #expect(verdict(completion, reference) == expected)
    }

    @Test(arguments: [
        ("50\\%", "0.5"), ("50%", "1/2"), ("0.5", "50%"), ("50", "50\\%"), ("12\\text{ cm}^2", "12"),
        ("90^\\circ", "90"), ("90°", "90 degrees"),
        ("\\$5.00", "5 dollars"), ("-\\frac{1}{2}", "-0.5"), ("1\\frac{1}{2}", "1.5"), ("\\frac12", "0.5"),
        ("\\frac1{72}", "1/72"), ("\\dfrac{3}{4}", "0.75"),
        ("\\frac{1}{\\frac{1}{3}}", "3"), ("1\\,234", "1234"), ("x = 7", "7"), ("(7)", "7"), ("+7", "7"), (".5", "1/2"),
        ("5.000", "5"), ("007", "7"),
        ("3 apples", "3"), ("3 hours", "3 hour"), ("12cm", "12"), ("1.5 \\times 10^{-3}", "0.0015"),
        ("1,234,567.5", "1234567.5"), ("2/4", "1/2"),
        ("5.00000000000000000000000000000000000000000000", "5"), ("\\text{ 5}", "\\text{ 5}"), ("x+1", "x+1"),
        ("30 miles/hour", "30 mile/hour"),
    ]) func whatIsTheSameIsRight(_ answer: String, _ reference: String) {
        #expect(verdict("\\boxed{\(answer)}", reference) == "correct")
    }

    /// Lengths and nestings that took minutes. In a release build each takes a millisecond or so; the limit leaves room
    /// for a build without optimisation on a busy machine.
    @Test func longTextsTakeNoTime() {
        let fractions =
            "\\boxed{" + String(repeating: "\\frac{1}{", count: 3_000) + "2" + String(repeating: "}", count: 3_000)
            + "}"
        let texts = [
            fractions, "\\boxed{" + String(repeating: "(", count: 20_000) + "1}",
            String(repeating: "\\boxed{", count: 8_000), String(repeating: "1 ", count: 20_000),
            "\\boxed{" + String(repeating: "\n", count: 20_000) + "5}", String(repeating: "$", count: 20_000) + "5",
            String(repeating: "\\frac", count: 8_000),
            "5" + String(repeating: ".", count: 20_000),
            "\\boxed{" + String(repeating: "\\sqrt\\frac\\text{ ", count: 2_000) + "}",
            "####" + String(repeating: " \\text{", count: 8_000) + "1",
        ]
        let clock = ContinuousClock()
        for type in RewardRegistry.all {
            for text in texts {
                let reward = type.init(), input = RewardInput(completion: text, referenceAnswer: text)
                let time = clock.measure { _ = reward.judge(input) }
                #expect(time < .seconds(20), "\(type.name), \(text.prefix(20)): \(time)")
            }
        }
    }
}
