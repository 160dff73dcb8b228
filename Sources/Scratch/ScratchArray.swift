/// A list that is complete. Looking at an element costs what it costs in memory. (`_fixLifetime`: `extendLifetime`,
/// which does the same, is a call for each element.)
public struct ScratchArray<Element: BitwiseCopyable & Sendable>: RandomAccessCollection, @unchecked Sendable {
    @usableFromInline let base: UnsafeMutablePointer<Element>
    public let count: Int
    @usableFromInline let owner: AnyObject

    init(_ base: UnsafeMutablePointer<Element>, _ count: Int, owner: AnyObject) {
        (self.base, self.count, self.owner) = (base, count, owner)
    }

    /// In memory.
    package init(_ elements: some Collection<Element>) {
        let memory = HeapMemory(elements.count, of: Element.self),
            base = memory.start.bindMemory(to: Element.self, capacity: elements.count)
        for (index, element) in elements.enumerated() { base[index] = element }
        self.init(base, elements.count, owner: memory)
    }

    @inlinable public var startIndex: Int { 0 }
    @inlinable public var endIndex: Int { count }

    @inlinable public subscript(index: Int) -> Element {
        precondition(index >= 0 && index < count, "an index outside the list")
        defer { _fixLifetime(owner) }
        return base[index]
    }

    /// Elements side by side, as long as the call.
    @inlinable public func withElements<R>(_ range: Range<Int>, _ body: (UnsafeBufferPointer<Element>) throws -> R)
        rethrows -> R
    {
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "a range outside the list")
        defer { _fixLifetime(owner) }
        return try body(UnsafeBufferPointer(start: base + range.lowerBound, count: range.count))
    }
}

/// Memory of the process.
final class HeapMemory {
    let start: UnsafeMutableRawPointer

    /// All 0.
    init<Element>(_ count: Int, of type: Element.Type) {
        let size = max(1, count * MemoryLayout<Element>.stride)
        start = .allocate(byteCount: size, alignment: 16)
        start.initializeMemory(as: UInt8.self, repeating: 0, count: size)
    }

    deinit { start.deallocate() }
}

/// A list of known length that is filled in in any order, all bytes 0 at first. Any thread may set elements, each its
/// own.
public struct ScratchTable<Element: BitwiseCopyable & Sendable>: @unchecked Sendable {
    /// The list as it stands.
    public let array: ScratchArray<Element>

    package init(_ space: ScratchSpace, count: Int) throws {
        let size = count * MemoryLayout<Element>.stride
        guard let folder = space.folder, size > space.mostInMemory else {
            let memory = HeapMemory(count, of: Element.self)
            array = ScratchArray(memory.start.bindMemory(to: Element.self, capacity: count), count, owner: memory)
            return
        }
        let file = try UnnamedFile(folder: folder)
        try file.extend(to: size)
        let memory = try file.map(writable: true)
        array = ScratchArray(
            memory.baseAddress!.bindMemory(to: Element.self, capacity: count), count, owner: space.keep(memory))
    }

    @inlinable public var count: Int { array.count }

    @inlinable public subscript(index: Int) -> Element {
        get { array[index] }
        nonmutating set {
            precondition(index >= 0 && index < array.count, "an index outside the list")
            array.base[index] = newValue
            _fixLifetime(array.owner)
        }
    }

    /// Elements side by side, as long as the call.
    @inlinable public func withMutableElements<R>(
        _ range: Range<Int>, _ body: (UnsafeMutableBufferPointer<Element>) throws -> R
    ) rethrows -> R {
        precondition(range.lowerBound >= 0 && range.upperBound <= array.count, "a range outside the list")
        defer { _fixLifetime(array.owner) }
        return try body(UnsafeMutableBufferPointer(start: array.base + range.lowerBound, count: range.count))
    }
}
