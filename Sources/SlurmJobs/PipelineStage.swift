/// A stage that runs as a job of its own.
package enum PipelineStage: String, CaseIterable, Sendable {
    case rollout, ingest, score, plan, update

    package var executable: String { "crux-" + rawValue }

    package init?(executable: String) {
        guard let stage = Self.allCases.first(where: { $0.executable == executable }) else { return nil }
        self = stage
    }

    /// Whether tasks can share its work.
    package var canBeShared: Bool { [.rollout, .ingest, .score].contains(self) }
}
