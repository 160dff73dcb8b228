import Formats

/// A rollout as a teacher reads it: its response behind a prompt that may be the teacher's own. Nothing is decoded: the
/// response's ids stay those that were sampled.
struct TeacherRow {
    let row: RolloutRow
    /// Tokens of the policy's prompt, and of the teacher's.
    private let promptLength: Int
    private let ownLength: Int
    let kind: TeacherPromptKind

    /// The policy's own prompt.
    init(_ rollout: RolloutRow) {
        let length = Self.promptLength(rollout)
        (row, promptLength, ownLength, kind) = (rollout, length, length, .own)
    }

    /// Another one in its place.
    init(_ rollout: RolloutRow, prompt: [Int32], _ kind: TeacherPromptKind) {
        let length = Self.promptLength(rollout)
        var spliced = rollout
        spliced.tokenIDs = prompt + rollout.tokenIDs[length...]
        spliced.lossMask = prompt.map { _ in false } + rollout.lossMask[length...]
        (row, promptLength, ownLength, self.kind) = (spliced, length, prompt.count, kind)
    }

    /// The policy's own behind further tokens. `leading`: what every text begins with, and nothing comes before.
    init(_ rollout: RolloutRow, before tokens: [Int32], leading: Int32?, _ kind: TeacherPromptKind) {
        let prompt = rollout.tokenIDs[..<Self.promptLength(rollout)]
        let kept = leading != nil && prompt.first == leading ? 1 : 0
        self.init(rollout, prompt: prompt.prefix(kept) + tokens + prompt.dropFirst(kept), kind)
    }

    private static func promptLength(_ rollout: RolloutRow) -> Int {
        rollout.lossMask.firstIndex(of: true) ?? rollout.tokenIDs.count
    }

    /// The teacher's log-probabilities at the policy's places.
    func placed(_ logprobs: [Float]) -> [Float] {
        [Float](repeating: 0, count: promptLength) + logprobs[ownLength...]
    }
}
