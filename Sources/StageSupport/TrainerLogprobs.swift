/// Whether the scores' `old_logprobs` are the trainer's own, so that they can be held against the sampler's.
package enum TrainerLogprobs: Sendable {
    /// crux-score had the policy (`--checkpoint`), or the dump has its trainer's.
    case known
    /// They are the sampler's own, or come from its logits.
    case unknown
    /// The scores don't say: those of earlier versions, or of another program.
    case unsaid

    /// `score`: of a crux-score directory.
    package init(_ score: Manifest) {
        let sources = score.counts.filter { $0.key.hasPrefix("old_logprobs_") }
        let known = ["checkpoint", "trainer"].contains { (sources["old_logprobs_\($0)"] ?? 0) > 0 }
        self = sources.isEmpty ? .unsaid : known ? .known : .unknown
    }

    /// Of what was held against the sampler's, `tokens` of them, where they differ by `largest` at most. Where nobody
    /// says whose they are, they are the trainer's as soon as they differ from the sampler's.
    package func areKnown(tokens: Int, largest: Double) -> Bool {
        switch self {
        case .known: tokens > 0
        case .unknown: false
        case .unsaid: largest > 0
        }
    }
}
