/// What a reward says about one completion. A null reward is "not judged", never zero.
package struct RewardOutcome: Equatable, Sendable {
    package var reward: Float?
    package var correct: Bool?
    /// `correct`, `wrong`, `no_answer` (judged, nothing found: wrong), `undecided`, `no_reference`, `given`, `no_reward`; of a command
    /// `external`, `reward_error`, `reward_timeout`, `reward_died`, `reward_rubbish`.
    package var verdict: String
    /// The answer as it was found.
    package var extracted: String

    static func judged(_ isCorrect: Bool, _ extracted: String) -> RewardOutcome {
        RewardOutcome(reward: isCorrect ? 1 : 0, correct: isCorrect, verdict: isCorrect ? "correct" : "wrong", extracted: extracted)
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

/// The reward that the dump brought. A verdict follows from it only where it is one of -1, 0, 1.
package struct GivenReward: RewardFunction {
    package static let name = "given"
    package static let source = "the dump's own reward"

    package init() {}

    package func judge(_ input: RewardInput) -> RewardOutcome {
        guard let reward = input.givenReward else { return .open("no_reward") }
        let isVerdict = [-1, 0, 1].contains(reward)
        return RewardOutcome(reward: reward, correct: isVerdict ? reward > 0 : nil, verdict: "given", extracted: "")
    }
}

/// A given reward where there is one, else the function that the data source is known for, else `numeric`.
package struct AutomaticReward: RewardFunction {
    package static let name = "auto"
    package static let source = "given, else by data_source as verl, else numeric"

    package init() {}

    package func judge(_ input: RewardInput) -> RewardOutcome {
        if input.givenReward != nil { return GivenReward().judge(input) }
        return Self.function(for: input.dataSource).judge(input)
    }

    /// verl's table of data sources.
    private static func function(for dataSource: String) -> any RewardFunction {
        switch dataSource {
        case "openai/gsm8k": GSM8K()
        case "lighteval/MATH", "DigitalLearningGmbH/MATH-lighteval", "HuggingFaceH4/MATH-500": MathReward()
        case "math_dapo", "math", "math_dapo_reasoning": DapoMath()
        case _ where dataSource.hasPrefix("aime"): DapoMath()
        default: NumericReward()
        }
    }
}
