import Credit
import StageSupport

/// Whether the scores' `old_logprobs` are the trainer's own, so that they can be held against the sampler's.
enum TrainerLogprobs: Sendable {
    /// crux-score had the policy (`--checkpoint`).
    case known
    /// They are the sampler's own, or come from its logits.
    case unknown
    /// The scores don't say: those of earlier versions, or of another program.
    case unsaid

    init(_ score: Manifest) {
        let sources = score.counts.filter { $0.key.hasPrefix("old_logprobs_") }
        self = sources.isEmpty ? .unsaid : (sources["old_logprobs_checkpoint"] ?? 0) > 0 ? .known : .unknown
    }

    /// Where nobody says, they are as soon as they differ from the sampler's.
    func areKnown(_ staleness: Staleness) -> Bool {
        switch self {
        case .known: staleness.tokens > 0
        case .unknown: false
        case .unsaid: staleness.largest > 0
        }
    }
}
