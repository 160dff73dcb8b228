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
