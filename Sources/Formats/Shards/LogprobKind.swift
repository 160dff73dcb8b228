/// What a sampler's own log-probabilities are of.
package enum LogprobKind: String, CaseIterable, Sendable {
    /// The model's distribution before the temperature.
    case raw
    /// Behind the temperature; whether over all tokens, nobody says.
    case processed
    /// Behind the temperature, over the whole vocabulary, whatever the sampler left of it.
    case full
    /// Over the tokens that the sampler could have drawn.
    case support

    /// Key of a rollout's metadata.
    package static let key = "logprobs_kind"
}
