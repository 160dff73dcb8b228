import Foundation

/// Where lists are kept that grow with a dump: a short one in memory; a longer one, given a folder, in a file there
/// that has no name and goes with whoever made it. Such a list is looked at as if it were in memory, and what has been
/// looked at leaves memory again.
public struct ScratchSpace: Sendable {
    /// Everything in memory, whatever its size. Nothing that is kept there can fail.
    package static let memory = ScratchSpace()

    let folder: String?
    /// Bytes of a list that memory is for.
    let mostInMemory: Int
    private let mapped = MappedChunks()

    package init(folder: String, mostInMemory: Int = 1 << 16) {
        (self.folder, self.mostInMemory) = (folder, mostInMemory)
    }

    private init() { (folder, mostInMemory) = (nil, .max) }

    /// For who has no folder of his own: TMPDIR, else the one for temporary files that are large.
    package static var temporary: ScratchSpace {
        ScratchSpace(folder: ProcessInfo.processInfo.environment["TMPDIR"] ?? "/var/tmp")
    }

    /// Says that so many rows of long lists have been gone over. What has been looked at, by any thread, leaves memory
    /// when it is worth it, and comes back where it is looked at again.
    public func releasePages(after rows: Int) { releasePages(afterBytes: rows * 64) }

    @usableFromInline func releasePages(afterBytes bytes: Int) { mapped.releasePages(after: bytes) }

    /// Indices in their order, for a pass over long lists: what has gone by doesn't stay in memory.
    @inlinable public func forEach(_ indices: Range<Int>, _ body: (Int) throws -> Void) rethrows {
        for start in stride(from: indices.lowerBound, to: indices.upperBound, by: chunk) {
            let part = start..<min(start + chunk, indices.upperBound)
            for index in part { try body(index) }
            releasePages(after: part.count)
        }
    }

    /// Elements of a list in their order, some thousands at a time.
    @inlinable public func forEachChunk<Element>(
        of list: ScratchArray<Element>, _ range: Range<Int>, _ body: (UnsafeBufferPointer<Element>) throws -> Void
    ) rethrows {
        for start in stride(from: range.lowerBound, to: range.upperBound, by: chunk) {
            let part = start..<min(start + chunk, range.upperBound)
            try list.withElements(part, body)
            releasePages(afterBytes: part.count * MemoryLayout<Element>.stride)
        }
    }

    @usableFromInline var chunk: Int { 1 << 12 }

    func keep(_ chunk: UnsafeMutableRawBufferPointer) -> MappedChunk { MappedChunk(chunk, of: mapped) }
}

/// All files of a space that are mapped.
final class MappedChunks: @unchecked Sendable {
    private let lock = NSLock()
    private var all: [UnsafeMutableRawPointer: Int] = [:]
    private var gone = 0

    func add(_ chunk: UnsafeMutableRawBufferPointer) { lock.withLock { all[chunk.baseAddress!] = chunk.count } }
    func remove(_ chunk: UnsafeMutableRawBufferPointer) { lock.withLock { all[chunk.baseAddress!] = nil } }

    private static let mostInMemory = 1 << 19

    /// Pages of a file that is shared stay in the file, changed or not.
    func releasePages(after bytes: Int) {
        lock.withLock {
            gone += bytes
            guard gone >= Self.mostInMemory else { return }
            gone = 0
            for (start, count) in all { madvise(start, count, MADV_DONTNEED) }
        }
    }
}

/// A file of a space, mapped as long as this lives.
final class MappedChunk {
    private let chunk: UnsafeMutableRawBufferPointer
    private let others: MappedChunks

    init(_ chunk: UnsafeMutableRawBufferPointer, of others: MappedChunks) {
        (self.chunk, self.others) = (chunk, others)
        others.add(chunk)
    }

    deinit {
        others.remove(chunk)
        munmap(chunk.baseAddress!, chunk.count)
    }
}
