import Foundation

/// `body` of every index below `count` at the same time, each on a thread of its own: for work whose parts wait for
/// each other. The first error by index is thrown.
///
/// - Throws: also where the system has not let so many threads start; then nothing was run.
package func allAtOnce<Value: Sendable>(_ count: Int, _ body: @Sendable (Int) throws -> Value) throws -> [Value] {
    try withoutActuallyEscaping(body) { body in
        let work = SharedWork<Value>(count, body)
        defer { work.drop() }
        let team = ThreadTeam(count) { work.runOne() }
        defer { team.join() }
        work.open(team.size == count)
        guard team.size == count else {
            throw StageError(
                .outputFailure,
                "found \(team.size) threads that could be started, expected \(count), one for each part of the work. Ask for fewer parts, or raise the limit (ulimit -u)."
            )
        }
        return try work.results().map { try $0.get() }
    }
}

/// Parts of a work that all begin when all their threads are there.
private final class SharedWork<Value: Sendable>: @unchecked Sendable {
    private let condition = NSCondition()
    private var body: (@Sendable (Int) throws -> Value)?
    private let count: Int
    private var next = 0
    /// nil until it is known whether there are threads enough.
    private var isOpen: Bool?
    private var found: [Int: Result<Value, any Error>] = [:]

    init(_ count: Int, _ body: @escaping @Sendable (Int) throws -> Value) { (self.count, self.body) = (count, body) }

    func open(_ isEnough: Bool) {
        condition.withLock {
            isOpen = isEnough
            condition.broadcast()
        }
    }

    func runOne() {
        guard let (index, body) = begin() else { return }
        let result = Result { try body(index) }
        condition.withLock {
            found[index] = result
            condition.broadcast()
        }
    }

    private func begin() -> (Int, @Sendable (Int) throws -> Value)? {
        condition.withLock {
            while isOpen == nil { condition.wait() }
            guard isOpen == true, let body else { return nil }
            defer { next += 1 }
            return (next, body)
        }
    }

    /// All of them, by index.
    func results() -> [Result<Value, any Error>] {
        condition.withLock {
            while found.count < count { condition.wait() }
            return (0..<count).compactMap { found[$0] }
        }
    }

    /// After the threads have been joined, or none has begun: `body` has to be given back.
    func drop() { condition.withLock { body = nil } }
}
