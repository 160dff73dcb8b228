import Foundation
import Rewards

/// Bytes as a completion and a reference answer, apart by a NUL, for each reward; the first byte chooses it.
final class RewardFuzz: FuzzTarget {
    static let name = "reward", subject = "a completion and a reference answer; the first byte chooses the reward"

    init(folder: String) {}

    func run(_ bytes: UnsafeRawBufferPointer) throws {
        let (kind, text) = bytes.choice
        let parts = text.split(separator: 0, maxSplits: 1, omittingEmptySubsequences: false)
            .map { String(decoding: $0, as: UTF8.self) }
        let input = RewardInput(completion: parts[0], referenceAnswer: parts.count > 1 ? parts[1] : "4")
        let reward = RewardRegistry.all[kind % RewardRegistry.all.count].init()
        precondition(reward.judge(input) == reward.judge(input), "the same text gets two verdicts")
    }
}
