import Formats
import Foundation

/// A rollout as a teacher reads it: its response behind the prompt that is the teacher's own, where the dump has one.
/// Nothing is decoded: the response's ids stay those that were sampled.
struct TeacherRow {
    let row: RolloutRow
    /// Tokens of the policy's prompt, and of the teacher's.
    private let promptLength: Int
    private let ownLength: Int
    /// Whether the teacher reads another prompt than the policy did.
    let isPrivileged: Bool

    init(_ rollout: RolloutRow) throws {
        let prompt = rollout.lossMask.firstIndex(of: true) ?? rollout.tokenIDs.count
        guard let own = TeacherPrompt.ids(ofExtras: rollout.extras) else {
            (row, promptLength, ownLength, isPrivileged) = (rollout, prompt, prompt, false)
            return
        }
        var spliced = rollout
        spliced.tokenIDs = own + rollout.tokenIDs[prompt...]
        spliced.lossMask = own.map { _ in false } + rollout.lossMask[prompt...]
        (row, promptLength, ownLength, isPrivileged) = (spliced, prompt, own.count, true)
    }

    /// The teacher's log-probabilities at the policy's places.
    func placed(_ logprobs: [Float]) -> [Float] {
        [Float](repeating: 0, count: promptLength) + logprobs[ownLength...]
    }
}
