import Foundation
import Scratch

/// A reward of ours under a time limit for each row, so that no answer can stop a run. A row that takes longer is
/// given up as `reward_timeout`, and the thread that is busy with it left alone: it ends with the process.
package struct TimeLimitedReward: Sendable {
    private let function: any RewardFunction
    private let seconds: Double

    /// `seconds`: for one row.
    package init(_ function: any RewardFunction, seconds: Double) {
        (self.function, self.seconds) = (function, seconds)
    }

    /// One outcome per input, in order. Throws where no thread is to be had: a row that nobody looked at has no outcome.
    package func judge(_ inputs: [RewardInput]) throws -> [RewardOutcome] {
        var outcomes: [RewardOutcome] = []
        while outcomes.count < inputs.count {
            outcomes += try Judging(function, inputs[outcomes.count...]).outcomes(patience: seconds)
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

    init(_ function: any RewardFunction, _ inputs: ArraySlice<RewardInput>) throws {
        count = inputs.count
        try startThread(stackSize: Self.stackSize) { [self] in
            for input in inputs {
                let outcome = function.judge(input)
                guard keep(outcome) else { return }
            }
        }
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

/// Foundation's `Thread` can't say that it didn't start: its work would look like one that takes too long.
private func startThread(stackSize: Int, _ body: @escaping @Sendable () -> Void) throws {
    final class Work: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var attributes = pthread_attr_t(), thread = pthread_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    pthread_attr_setstacksize(&attributes, stackSize)
    pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    let work = Unmanaged.passRetained(Work(body))
    let status = pthread_create(
        &thread, &attributes,
        { argument in
            if let argument { Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().body() }
            return nil
        }, work.toOpaque())
    guard status != 0 else { return }
    work.release()
    errno = status
    throw IOError.fromErrno("a thread for rewards", "start it")
}
