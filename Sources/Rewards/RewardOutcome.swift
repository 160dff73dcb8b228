import Formats

/// What a reward says about one completion. A null reward is "not judged", never zero.
package struct RewardOutcome: Equatable, Sendable {
    package var reward: Float?
    package var correct: Bool?
    package var verdict: Verdict
    /// The answer as it was found.
    package var extracted: String
    /// Others beside it, by name.
    package var rewards: [String: Double] = [:]

    static func judged(_ isCorrect: Bool, _ extracted: String) -> RewardOutcome {
        RewardOutcome(
            reward: isCorrect ? 1 : 0, correct: isCorrect, verdict: isCorrect ? .correct : .wrong,
            extracted: extracted)
    }

    package static func open(_ verdict: Verdict, _ extracted: String = "") -> RewardOutcome {
        RewardOutcome(reward: nil, correct: nil, verdict: verdict, extracted: extracted)
    }

    static let noAnswer = RewardOutcome(reward: 0, correct: false, verdict: .noAnswer, extracted: "")
}
