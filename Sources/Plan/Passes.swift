import StageSupport

/// How passes over a dump are made: by a plan alone, or beside those of other plans.
protocol Passes: Sendable {
    /// `produce` runs on any thread, `consume` on the calling one in the order of the indices below `count`.
    func inOrder<Value: Sendable>(
        _ count: Int, _ produce: @Sendable (Int) throws -> Value, _ consume: (Int, Value) throws -> Void) throws
}

struct OwnPasses: Passes {
    let threads: Int

    func inOrder<Value: Sendable>(
        _ count: Int, _ produce: @Sendable (Int) throws -> Value, _ consume: (Int, Value) throws -> Void
    ) throws {
        try parallelInOrder(count, threads: threads, produce: produce, consume: consume)
    }
}
