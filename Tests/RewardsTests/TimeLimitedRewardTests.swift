import Foundation
import Rewards
import TestSupport
import Testing

@Suite struct TimeLimitedRewardTests {
    /// Never ends with the answer `stuck`.
    private struct Slow: RewardFunction {
        static let name = "slow"
        static let source = "a test"

        func judge(_ input: RewardInput) -> RewardOutcome {
            while input.completion == "stuck" { sleep(1) }
            return RewardOutcome.open(.given, input.completion)
        }
    }

    /// What `Slow` has repeated, or the verdict of a row that it never answered.
    private func verdicts(_ completions: [String], seconds: Double) throws -> [String] {
        try TimeLimitedReward(Slow(), seconds: seconds).judge(
            completions.map { RewardInput(completion: $0, referenceAnswer: "") }
        ).map { $0.verdict == .given ? $0.extracted : $0.verdict.rawValue }
    }

    @Test func aRowThatTakesTooLongCostsThatRow() throws {
        #expect(
            try verdicts(["a", "stuck", "b", "stuck", "stuck", "c"], seconds: 0.5) == [
                "a", "reward_timeout", "b", "reward_timeout", "reward_timeout", "c",
            ])
    }

    /// The limit is one row's, not all rows'.
    @Test func manyRowsTakeTheTimeThatTheyTake() throws {
        #expect(try verdicts((0..<100_000).map { "\($0)" }, seconds: 30) == (0..<100_000).map { "\($0)" })
        #expect(try verdicts([], seconds: 1).isEmpty)
    }
}
