/// A list in the making, element behind element.
public struct ScratchWriter<Element: BitwiseCopyable & Sendable> {
    private let space: ScratchSpace
    /// What is not in the file yet.
    @usableFromInline var tail: [Element] = []
    @usableFromInline let mostInTail: Int
    private var file: UnnamedFile?
    private var written = 0
    /// The file's list as it was looked at last.
    private var known: ScratchArray<Element>?

    package init(_ space: ScratchSpace) {
        self.space = space
        mostInTail = max(1, space.mostInMemory / MemoryLayout<Element>.stride)
    }

    package var count: Int { written + tail.count }

    @inlinable public mutating func append(_ element: Element) throws {
        if tail.count == mostInTail { try flush() }
        tail.append(element)
    }

    package mutating func append(contentsOf elements: UnsafeBufferPointer<Element>) throws {
        var left = elements[...]
        while !left.isEmpty {
            if tail.count == mostInTail { try flush() }
            let part = left.prefix(mostInTail - tail.count)
            tail.append(contentsOf: part)
            left = left.dropFirst(part.count)
        }
    }

    @usableFromInline mutating func flush() throws {
        let target = try file ?? UnnamedFile(folder: space.folder ?? "")
        try tail.withUnsafeBytes { try target.append($0) }
        written += tail.count
        tail.removeAll(keepingCapacity: true)
        file = target
    }

    /// What was appended at these places, as long as the call.
    package mutating func withElements<R>(_ range: Range<Int>, _ body: (UnsafeBufferPointer<Element>) throws -> R)
        throws -> R
    {
        if range.upperBound <= written { return try filed(range.upperBound).withElements(range, body) }
        guard range.lowerBound >= written else { return try read(range).withUnsafeBufferPointer(body) }
        return try tail.withUnsafeBufferPointer {
            try body(UnsafeBufferPointer(rebasing: $0[range.lowerBound - written..<range.upperBound - written]))
        }
    }

    package mutating func read(_ range: Range<Int>) throws -> [Element] {
        let border = max(range.lowerBound, min(written, range.upperBound))
        return try withElements(range.lowerBound..<border) { Array($0) }
            + withElements(border..<range.upperBound) { Array($0) }
    }

    /// The file's list, of at least so many.
    private mutating func filed(_ count: Int) throws -> ScratchArray<Element> {
        if let known, known.count >= count { return known }
        guard let file else { return ScratchArray([]) }
        let memory = try file.map(writable: false)
        let list = ScratchArray(
            memory.baseAddress!.bindMemory(to: Element.self, capacity: written), written, owner: space.keep(memory))
        known = list
        return list
    }

    /// The list; nothing can be appended after it.
    package mutating func finish() throws -> ScratchArray<Element> {
        defer { (tail, known) = ([], nil) }
        guard file != nil else { return ScratchArray(tail) }
        try flush()
        return try filed(written)
    }
}
