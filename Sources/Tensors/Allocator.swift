/// Where a pass gets the arrays that it works in.
package protocol Allocator: AnyObject {
    /// An array whose contents are undefined.
    func take(_ count: Int) -> Buffer
    /// What `body` takes is free again when it returns.
    func scoped<Result>(_ body: () throws -> Result) rethrows -> Result
    /// Nothing is in use: others may have the memory until something is taken again.
    func rest()
}

extension Allocator {
    package func zeroed(_ count: Int) -> Buffer {
        let buffer = take(count)
        buffer.zero()
        return buffer
    }
}

/// Each array an allocation of its own, freed with its last reference.
package final class HeapAllocator: Allocator {
    package init() {}
    package func take(_ count: Int) -> Buffer { Buffer(uninitialized: count) }
    package func scoped<Result>(_ body: () throws -> Result) rethrows -> Result { try body() }
    package func rest() {}
}

/// One allocation, dealt out from its start: passes of different sizes use the same memory again, and none is lost to
/// holes between arrays of other sizes, as on the heap. Arrays must not be used after their scope.
package final class Arena: Allocator {
    private let storage: Buffer
    private var used = 0
    /// Floats asked for at the busiest moment.
    package private(set) var peak = 0

    /// `capacity`: floats, as a `SizingAllocator` of the same takes says.
    package init(capacity: Int) { storage = Buffer(uninitialized: capacity) }

    package func take(_ count: Int) -> Buffer {
        let start = used
        used += SizingAllocator.rounded(count)
        peak = max(peak, used)
        // Beyond what was foreseen the heap helps out: a promise about memory is no reason to lose the work.
        return used <= storage.count ? Buffer(part: start, count: count, of: storage) : Buffer(uninitialized: count)
    }

    package func scoped<Result>(_ body: () throws -> Result) rethrows -> Result {
        let before = used
        defer { used = before }
        return try body()
    }
}

extension Arena {
    package func rest() { storage.discard() }
}

/// Counts what is taken and gives nothing: the same code that asks for arrays says how large they are together.
package final class SizingAllocator: Allocator {
    private var used = 0
    /// Floats in use at the busiest moment.
    package private(set) var peak = 0

    package init() {}

    /// A whole number of cache lines.
    static func rounded(_ count: Int) -> Int { (count + 15) / 16 * 16 }

    package func take(_ count: Int) -> Buffer {
        used += Self.rounded(count)
        peak = max(peak, used)
        return Buffer(uninitialized: 0)
    }

    package func scoped<Result>(_ body: () throws -> Result) rethrows -> Result {
        let before = used
        defer { used = before }
        return try body()
    }

    package func rest() {}
}
