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
