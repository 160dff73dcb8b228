import Formats
import Models

/// Where the log-probabilities come from that an update starts from.
enum LogprobSource: String, Codable, Sendable {
    /// The policy that was given: the trainer's own.
    case checkpoint
    /// The dump's `old_logprobs`: those of the trainer that wrote it.
    case trainer
    /// The dump's `rollout_logprobs`.
    case sampler
    /// The dump's logits.
    case logits
}

/// The best that is known of the sampled tokens' log-probabilities.
struct OldLogprobs {
    let values: [Float]?
    let source: LogprobSource?

    init(_ row: RolloutRow, _ frame: FrameScores, _ policy: SequenceScores?) {
        // What the head says of hidden states is the checkpoint's word.
        let head = row.evidence == EntropySource.hidden.rawValue ? frame.logprobs : nil
        if let trainer = head ?? policy?.logprobs {
            (values, source) = (trainer, .checkpoint)
        } else if let trainer = row.oldLogprobs {
            (values, source) = (trainer, .trainer)
        } else if let sampler = row.comparableLogprobs {
            (values, source) = (sampler, .sampler)
        } else {
            (values, source) = (frame.logprobs, frame.logprobs == nil ? nil : .logits)
        }
    }
}
