import Foundation

/// A reward of ours under a time limit for each row, so that no answer can stop a run. A row that takes longer is
/// given up as `reward_timeout`, and the thread that is busy with it left alone: it ends with the process.
package struct TimeLimitedReward: Sendable {
    private let function: any RewardFunction
    private let seconds: Double

    /// `seconds`: for one row.
    package init(_ function: any RewardFunction, seconds: Double) {
        (self.function, self.seconds) = (function, seconds)
    }

    /// One outcome per input, in order.
    package func judge(_ inputs: [RewardInput]) -> [RewardOutcome] {
        var outcomes: [RewardOutcome] = []
        while outcomes.count < inputs.count {
            outcomes += Judging(function, inputs[outcomes.count...]).outcomes(patience: seconds)
            if outcomes.count < inputs.count { outcomes.append(.open(.rewardTimeout)) }
        }
        return outcomes
    }
}

/// Rows judged one after the other on a thread of their own.
private final class Judging: @unchecked Sendable {
    private let condition = NSCondition()
    private let count: Int
    private var done: [RewardOutcome] = []
    private var lastProgress = Date()
    private var isGivenUp = false

    /// Secondary threads get 512 KiB by default.
    private static let stackSize = 8 << 20

    init(_ function: any RewardFunction, _ inputs: ArraySlice<RewardInput>) {
        count = inputs.count
        let thread = Thread { [self] in
            for input in inputs {
                let outcome = function.judge(input)
                guard keep(outcome) else { return }
            }
        }
        thread.stackSize = Self.stackSize
        thread.start()
    }

    /// Whether there is anybody who waits for the next one.
    private func keep(_ outcome: RewardOutcome) -> Bool {
        condition.withLock {
            guard !isGivenUp else { return false }
            done.append(outcome)
            lastProgress = Date()
            if done.count == count { condition.signal() }
            return true
        }
    }

    /// All outcomes, or those before the row that takes longer than `patience` seconds.
    func outcomes(patience: Double) -> [RewardOutcome] {
        condition.withLock {
            while done.count < count {
                let limit = lastProgress.addingTimeInterval(patience)
                if Date() >= limit { break }
                _ = condition.wait(until: limit)
            }
            isGivenUp = true
            return done
        }
    }
}
