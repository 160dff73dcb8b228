/// Which softmax scores are of, where a dump says which tokens could be drawn: crux-score's word for crux-plan.
package enum ScoredSupport: String, Sendable {
    /// Over those tokens.
    case replayed
    /// Over the whole vocabulary all the same.
    case ignored

    /// Of the configuration in crux-score's manifest.
    package static let key = "support"

    package init(_ score: Manifest) {
        self = score.configuration[Self.key].flatMap { ScoredSupport(rawValue: $0) } ?? .replayed
    }
}
