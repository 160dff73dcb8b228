import Foundation

/// Things that threads work with and leave for the next chunk of work, whoever does it: as many as were at work at a
/// time.
package final class IdlePool<Value>: @unchecked Sendable {
    private let lock = NSLock()
    private var idle: [Value] = []

    package init() {}

    /// The first that suits, else the last that was left; nil where none is.
    package func take(where suits: (Value) -> Bool = { _ in false }) -> Value? {
        lock.withLock {
            guard let index = idle.firstIndex(where: suits) ?? idle.indices.last else { return nil }
            return idle.remove(at: index)
        }
    }

    package func give(_ value: Value) { lock.withLock { idle.append(value) } }
}
