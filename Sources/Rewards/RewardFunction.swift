/// What a reward says about one completion. A null reward is "not judged", never zero.
package struct RewardOutcome: Equatable, Sendable {
    package var reward: Float?
    package var correct: Bool?
    /// `correct`, `wrong`, `no_answer` (judged, nothing found: wrong), `undecided`, `no_reference`, `given`,
    /// `no_reward`; of a command `external`, `reward_error`, `reward_timeout`, `reward_crashed`, `reward_invalid`.
    package var verdict: String
    /// The answer as it was found.
    package var extracted: String

    static func judged(_ isCorrect: Bool, _ extracted: String) -> RewardOutcome {
        RewardOutcome(
            reward: isCorrect ? 1 : 0, correct: isCorrect, verdict: isCorrect ? "correct" : "wrong",
            extracted: extracted)
    }

    package static func open(_ verdict: String, _ extracted: String = "") -> RewardOutcome {
        RewardOutcome(reward: nil, correct: nil, verdict: verdict, extracted: extracted)
    }

    static let noAnswer = RewardOutcome(reward: 0, correct: false, verdict: "no_answer", extracted: "")
}

/// What a reward may look at.
package struct RewardInput: Sendable {
    package var completion: String
    package var referenceAnswer: String
    package var dataSource: String
    package var givenReward: Float?
    /// For external commands.
    package var prompt = ""
    /// A JSON object of strings.
    package var extras = "{}"

    package init(completion: String, referenceAnswer: String, dataSource: String = "", givenReward: Float? = nil) {
        self.completion = completion
        self.referenceAnswer = referenceAnswer
        self.dataSource = dataSource
        self.givenReward = givenReward
    }
}

/// A verdict on text: never throws, whatever the text; the same text gets the same verdict.
package protocol RewardFunction: Sendable {
    static var name: String { get }
    /// What it follows, for listings.
    static var source: String { get }
    init()
    func judge(_ input: RewardInput) -> RewardOutcome
}

package enum RewardRegistry {
    /// Sorted by name. A newcomer: one file, one line here; the tests over this list cover it.
    package static let all: [any RewardFunction.Type] = [
        AutomaticReward.self,
        DapoMath.self,
        DapoMathStrict.self,
        GSM8K.self,
        GSM8KFlexible.self,
        GivenReward.self,
        MathReward.self,
        NumericReward.self,
    ]

    package static var names: [String] { all.map { $0.name } }

    package static func named(_ name: String) -> (any RewardFunction)? { all.first { $0.name == name }?.init() }
}
