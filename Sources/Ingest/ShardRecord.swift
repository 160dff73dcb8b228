import Files
import Formats
import StageSupport

/// One shard's outcome, remembered until the manifest is written.
struct ShardRecord: Codable, Sendable {
    /// The shard as it was when this was made from it.
    var input: Manifest.File
    var rolloutIDs: [String] = []
    /// For each of them, its frame's or line's number and first byte in the input.
    var numbers: [Int] = []
    var offsets: [Int] = []
    /// Frames that were written to the output for score.
    var frames: WrittenFile?
    /// What was measured of their logits, and of how many.
    var measures: WrittenFile?
    var measured: Int?
    var trainableTokens = 0
    /// Widths of the logits seen.
    var vocabularies: Set<Int> = []
    var prompts = GroupPrompts()
    var rejections: [EntryRejection] = []
    /// Rollouts by what was left out of them or taken on trust.
    var remarks: [String: Int] = [:]
    /// For each rollout, the request that asked for it; empty where requests aren't known.
    var requests: [String] = []
    /// Whether rows of a log that repeats its rows are among them.
    var isQueue = false

    /// An accepted rollout's figures.
    mutating func add(_ found: AcceptedRollout, number: Int, offset: Int, keepsRequest: Bool) {
        if let vocabulary = found.vocabulary { vocabularies.insert(vocabulary) }
        rolloutIDs.append(found.row.rolloutID)
        numbers.append(number)
        offsets.append(offset)
        trainableTokens += found.row.lossMask.count { $0 }
        for remark in found.remarks { remarks[remark.rawValue, default: 0] += 1 }
        if found.measure != nil { measured = (measured ?? 0) + 1 }
        if keepsRequest { requests.append(found.request ?? "") }
    }

    /// The rows of these numbers alone.
    mutating func keep(_ rows: [Int]) {
        (rolloutIDs, numbers, offsets) = (
            rows.map { rolloutIDs[$0] }, rows.map { numbers[$0] }, rows.map { offsets[$0] }
        )
        if !requests.isEmpty { requests = rows.map { requests[$0] } }
    }
}
