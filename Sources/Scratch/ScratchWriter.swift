/// A list in the making, element behind element.
public struct ScratchWriter<Element: BitwiseCopyable & Sendable> {
    private let space: ScratchSpace
    /// What is not in the file yet.
    @usableFromInline var tail: [Element] = []
    @usableFromInline let mostInTail: Int
    private var file: UnnamedFile?
    private var written = 0

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

    /// What was appended at these places.
    package func read(_ range: Range<Int>) throws -> [Element] {
        guard range.lowerBound < written, let file else { return Array(tail[range.lowerBound - written..<range.upperBound - written]) }
        let old = range.lowerBound..<min(range.upperBound, written), stride = MemoryLayout<Element>.stride
        let read = try [Element](unsafeUninitializedCapacity: old.count) { target, count in
            try file.read(into: UnsafeMutableRawBufferPointer(start: target.baseAddress, count: old.count * stride), at: old.lowerBound * stride)
            count = old.count
        }
        return read + tail[0..<max(0, range.upperBound - written)]
    }

    /// The list; nothing can be appended after it.
    package mutating func finish() throws -> ScratchArray<Element> {
        guard file != nil else {
            defer { tail = [] }
            return ScratchArray(tail)
        }
        try flush()
        defer { tail = [] }
        guard let file else { preconditionFailure("a flush leaves a file") }
        let memory = try file.map(writable: false)
        return ScratchArray(memory.baseAddress!.bindMemory(to: Element.self, capacity: written), written, owner: space.keep(memory))
    }
}
