import Foundation
import Synchronization

/// Work on indices by several threads. Results and errors come in index order, so that nothing depends on which thread was
/// faster. Closures look at `Interruption` themselves if one index takes long; between indices it is done here.
package enum Parallel {
    /// Runs `body` for every index. The error of the lowest failing index is thrown; indices above it may not have run.
    package static func forEach(count: Int, threads: Int, _ body: @Sendable (Int) throws -> Void) throws {
        try inOrder(count: count, threads: threads, produce: body, consume: { _ in })
    }

    package static func map<Value: Sendable>(count: Int, threads: Int, _ body: @Sendable (Int) throws -> Value) throws -> [Value] {
        var values: [Value] = []
        values.reserveCapacity(count)
        try inOrder(count: count, threads: threads, produce: body, consume: { values.append($0) })
        return values
    }

    /// `produce` runs on `threads` threads, `consume` on the calling one, in the order of the indices. At most `window` values
    /// (4 for each thread unless told) wait to be consumed, so memory is bounded however uneven the work is.
    package static func inOrder<Value: Sendable>(
        count: Int, threads: Int, window: Int? = nil, produce: @Sendable (Int) throws -> Value, consume: (Value) throws -> Void
    ) throws {
        guard threads > 1, count > 1 else { return try oneByOne(count, produce, consume) }
        let workers = min(threads, count)
        let line = WaitingLine<Value>(count: count, window: max(window ?? 4 * threads, workers))
        try withoutActuallyEscaping(produce) { produce in
            let team = ThreadTeam(workers) {
                while let index = line.take() { line.put(index, Result { try Interruption.check(); return try produce(index) }) }
            }
            defer { team.join() }
            defer { line.close() }
            for index in 0..<count { try consume(line.next(index).get()) }
        }
    }

    private static func oneByOne<Value>(_ count: Int, _ produce: (Int) throws -> Value, _ consume: (Value) throws -> Void) throws {
        for index in 0..<count {
            try Interruption.check()
            try consume(produce(index))
        }
    }
}

/// Hands indices out to producers and values back in order.
private final class WaitingLine<Value: Sendable>: @unchecked Sendable {
    private let condition = NSCondition()
    private let count: Int
    private let window: Int
    private var nextToTake = 0
    private var consumed = 0
    private var closed = false
    private var waiting: [Int: Result<Value, any Error>] = [:]

    init(count: Int, window: Int) {
        self.count = count
        self.window = window
    }

    /// The next index to work on; nil when there is none left. Waits while too many values wait to be consumed.
    func take() -> Int? {
        condition.withLock {
            while !closed, nextToTake < count, nextToTake >= consumed + window { condition.wait() }
            guard !closed, nextToTake < count else { return nil }
            nextToTake += 1
            return nextToTake - 1
        }
    }

    func put(_ index: Int, _ value: Result<Value, any Error>) {
        condition.withLock {
            waiting[index] = value
            condition.broadcast()
        }
    }

    /// Waits for the value of `index`; indices must be asked for in order.
    func next(_ index: Int) -> Result<Value, any Error> {
        condition.withLock {
            while true {
                if let value = waiting.removeValue(forKey: index) {
                    consumed = index + 1
                    condition.broadcast()
                    return value
                }
                condition.wait()
            }
        }
    }

    func close() {
        condition.withLock {
            closed = true
            condition.broadcast()
        }
    }
}

/// Threads of the operating system, not of the cooperative pool: they may block.
private final class ThreadTeam {
    private let group = DispatchGroup()

    /// Deep enough for any library call; the default of 512 KiB is not.
    private static let stackSize = 8 << 20

    init(_ count: Int, _ body: @escaping @Sendable () -> Void) {
        for _ in 0..<count {
            group.enter()
            let thread = Thread { [group] in
                body()
                group.leave()
            }
            thread.stackSize = ThreadTeam.stackSize
            thread.start()
        }
    }

    func join() { group.wait() }
}
