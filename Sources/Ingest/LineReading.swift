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
}
