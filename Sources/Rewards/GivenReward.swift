/// The reward that the dump brought. A verdict follows from it only where it is one of -1, 0, 1.
package struct GivenReward: RewardFunction {
    package static let name = "given"
    package static let source = "the dump's own reward"

    package init() {}

    package func judge(_ input: RewardInput) -> RewardOutcome {
        guard let reward = input.givenReward else { return .open(.noReward) }
        let isVerdict = [-1, 0, 1].contains(reward)
        return RewardOutcome(reward: reward, correct: isVerdict ? reward > 0 : nil, verdict: .given, extracted: "")
    }
}
