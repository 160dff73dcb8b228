import Formats

/// How lines of other programs are read.
struct LineReading: Sendable {
    /// Dialects to try.
    let dialects: [any DumpDialect.Type]
    let tokenizer: TextTokens?
    /// Sampling settings of lines that don't tell theirs, as metadata.
    let defaults: [String: String]
    let invalidLogprobs: InvalidLogprobs
    /// Whether the temperature among `defaults` is the user's own.
    let isTemperatureGiven: Bool
    /// What was asked, where that is known.
    let requests: RequestBook?
    /// Which columns of a trainer's log are rewards.
    var rewardColumns: RewardColumns?
    /// Whether tokens of rollouts that called tools are all taken for the policy's where no mask says otherwise.
    var trustsResponseTokens = false
    /// Recorded layers and experts of each token, where responses don't say.
    var expertsShape: ExpertsShape?
    /// Whether the user says that rollouts have one turn, where they don't tell.
    var isOneTurn = false
}
