import Formats

/// A rollout of the input that becomes a row.
struct AcceptedRollout: Sendable {
    var row: RolloutRow
    /// Width of its logits.
    var vocabulary: Int?
    /// What score will want of it, where that lies in no shard yet, or lies there in another form than it shall have.
    var frame: (any NewFrame)?
    var remarks: Set<RolloutRemark> = []
    /// What its logits say, where that was asked for and could be told.
    var measure: MeasureRow?
    /// The request that asked for it.
    var request: String?
    /// Of a row in a log that repeats its rows.
    var queued: QueuedRow?
}

/// What becomes of a rollout of the input.
enum Outcome: Sendable {
    case accepted(AcceptedRollout)
    case rejected(EntryRejection)
}
