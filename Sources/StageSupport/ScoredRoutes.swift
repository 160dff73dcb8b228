/// Whose experts scores were made with, where a dump says which ones the sampler's routers took: crux-score's word for
/// crux-plan.
package enum ScoredRoutes: String, Sendable {
    /// The sampler's.
    case replayed
    /// Those that the checkpoint's own routers choose.
    case ignored

    /// Of the configuration in crux-score's manifest.
    package static let key = "routed_experts"

    package init(_ score: Manifest) {
        self = score.configuration[Self.key].flatMap { ScoredRoutes(rawValue: $0) } ?? .replayed
    }
}
