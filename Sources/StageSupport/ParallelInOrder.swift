import Foundation

/// `produce` runs on `threads` threads, `consume` on the calling one, in the order of the indices below `count`. At
/// most `waiting` values for each thread wait to be consumed, so memory stays bounded however many there are and
/// however uneven the work is. The first error by index is thrown, from either side; work beyond it may or may not have
/// run.
package func parallelInOrder<Value: Sendable>(
    _ count: Int, threads: Int, waiting: Int = 4, produce: @Sendable (Int) throws -> Value,
    consume: (Int, Value) throws -> Void
) throws {
    guard threads > 1, count > 1 else { return try (0..<count).forEach { try consume($0, produce($0)) } }
    let line = WaitingLine<Value>(count: count, window: waiting * threads)
    try withoutActuallyEscaping(produce) { produce in
        // What the threads hold is this box, emptied before `produce` has to be given back.
        let work = LentBody(produce)
        defer { work.drop() }
        let team = ThreadTeam(min(threads, count)) {
            while let index = line.take() { line.put(index, Result { try work.run(index) }) }
        }
        // At the limit of its threads a process still has this one.
        guard team.size > 0 else { return try (0..<count).forEach { try consume($0, produce($0)) } }
        defer { team.join() }
        defer { line.close() }
        for index in 0..<count { try consume(index, line.next(index).get()) }
    }
}

/// `run` only between init and `drop`; the join between the threads' last call and `drop` orders the two.
final class LentBody<Value>: @unchecked Sendable {
    private var body: (@Sendable (Int) throws -> Value)?

    init(_ body: @escaping @Sendable (Int) throws -> Value) { self.body = body }

    func run(_ index: Int) throws -> Value {
        guard let body else { preconditionFailure("work was asked for after its end") }
        return try body(index)
    }

    func drop() { body = nil }
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

    /// The next index to work on; nil when there is none left. Blocks while too many values wait to be consumed.
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

    /// Blocks until the value of `index` is there. Indices must be asked for in order.
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

/// Threads of the operating system: unlike those of a dispatch queue they may block on each other. As many as it has
/// let us start.
struct ThreadTeam {
    private let members: [pthread_t]

    /// Secondary threads get 512 KiB by default in some places, too little for deep library calls.
    private static let stackSize = 8 << 20

    init(_ count: Int, _ body: @escaping @Sendable () -> Void) {
        var attributes = pthread_attr_t(), members: [pthread_t] = []
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setstacksize(&attributes, Self.stackSize)
        for _ in 0..<max(0, count) {
            let task = Unmanaged.passRetained(ThreadBody(body))
            var member = pthread_t()
            guard pthread_create(&member, &attributes, Self.run, task.toOpaque()) == 0 else {
                task.release()
                break
            }
            members.append(member)
        }
        self.members = members
    }

    private static let run: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { task in
        guard let task else { return nil }
        Unmanaged<ThreadBody>.fromOpaque(task).takeRetainedValue().run()
        return nil
    }

    var size: Int { members.count }

    func join() { members.forEach { pthread_join($0, nil) } }

    /// In place of `join`, for threads that nobody waits for.
    func detach() { members.forEach { pthread_detach($0) } }
}

private final class ThreadBody {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}
