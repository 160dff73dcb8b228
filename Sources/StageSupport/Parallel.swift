import Foundation

/// Calls `body` once for each index below `count` on up to `threads` threads, the calling one among them, and returns
/// the results in index order. The first error by index is thrown when all have ended.
///
/// Not on libdispatch's threads: it looks once a second how they fare, in /proc, and ends the process by a trap where it
/// can't open a file there.
package func parallelMap<T: Sendable>(_ count: Int, threads: Int, _ body: @Sendable (Int) throws -> T) throws -> [T] {
    let results = Results<T>(count)
    let next = Counter()
    withoutActuallyEscaping(body) { body in
        let work = LentBody(body)
        defer { work.drop() }
        let share = { @Sendable () -> Void in
            while let index = next.take(below: count) { results.set(index, Result { try work.run(index) }) }
        }
        let team = ThreadTeam(min(threads, count) - 1, share)
        defer { team.join() }
        share()
    }
    return try results.all()
}

private final class Counter: @unchecked Sendable {
    private let lock = NSLock()
    private var value = 0

    func take(below limit: Int) -> Int? {
        lock.withLock {
            guard value < limit else { return nil }
            defer { value += 1 }
            return value
        }
    }
}

private final class Results<T: Sendable>: @unchecked Sendable {
    private let lock = NSLock()
    private var slots: [Result<T, any Error>?]

    init(_ count: Int) { slots = [Result<T, any Error>?](repeating: nil, count: count) }

    func set(_ index: Int, _ result: Result<T, any Error>) { lock.withLock { slots[index] = result } }

    func all() throws -> [T] { try slots.compactMap { try $0?.get() } }
}
