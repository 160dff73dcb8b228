import CMappings
import Foundation
import Scratch

/// A whole file mapped for reading: pages come in as they are touched and leave under pressure, so files larger than
/// memory are ordinary. One that is cut off meanwhile ends no process: zeros stand for what is missing, and
/// `MappedFiles.requireUnchanged` throws.
package final class MappedFile: @unchecked Sendable {
    package let path: String
    package let bytes: UnsafeRawBufferPointer
    private let identity: FileIdentity
    /// Its number in the register.
    private let number: Int

    package init(path: String) throws {
        self.path = path
        // Not to wait for whoever might write to a pipe: it is refused below.
        let descriptor = uninterrupted { open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) }
        guard descriptor >= 0 else { throw unreadable(path) }
        defer { close(descriptor) }
        var status = stat()
        guard uninterrupted({ fstat(descriptor, &status) }) == 0 else { throw unreadable(path) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw FormatError(file: path, place: "", found: "something that is not a regular file", expected: "a file")
        }
        identity = FileIdentity(status)
        try MappedFiles.register.requireAsDigested(path, identity)
        bytes = try Self.map(descriptor, identity.bytes, path)
        var mapping: OpaquePointer?
        if let base = bytes.baseAddress {
            mapping = crux_mapping_watch(base, UInt64(bytes.count))
            guard mapping != nil else {
                munmap(UnsafeMutableRawPointer(mutating: base), bytes.count)
                throw IOError(file: path, action: "map it", code: ENOMEM)
            }
        }
        number = MappedFiles.register.add(MappedFileEntry(path: path, identity: identity, mapping: mapping))
    }

    private static func map(_ descriptor: Int32, _ count: Int, _ path: String) throws -> UnsafeRawBufferPointer {
        guard count > 0 else { return UnsafeRawBufferPointer(start: nil, count: 0) }
        guard let address = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0), address != MAP_FAILED else {
            throw IOError.fromErrno(path, "map it")
        }
        return UnsafeRawBufferPointer(start: address, count: count)
    }

    /// Says that a digest of it stands for what is read: whatever else lies under its name later is refused.
    package func noteDigest() { MappedFiles.register.noteDigest(path, identity) }

    /// Gives back the memory of a range, and of what came along with it; touching it again reads it anew. What has been
    /// consumed of a large file need not count against this process.
    package func release(_ range: Range<Int>) {
        guard let base = bytes.baseAddress, !range.isEmpty else { return }
        let start = range.lowerBound / Self.mappedAtOnce * Self.mappedAtOnce
        let end = min(bytes.count, (range.upperBound + Self.mappedAtOnce - 1) / Self.mappedAtOnce * Self.mappedAtOnce)
        madvise(UnsafeMutableRawPointer(mutating: base) + start, end - start, MADV_DONTNEED)
    }

    /// Linux maps the neighbours of a page that is touched too, as far as a chunk of this size has them in memory.
    private static let mappedAtOnce = 1 << 16

    /// Where in the file a chunk of memory was mapped from; nil where it wasn't.
    package func offset(of memory: UnsafeRawBufferPointer) -> Int? {
        guard let base = bytes.baseAddress, let start = memory.baseAddress, start >= base, memory.count <= bytes.count,
            start - base <= bytes.count - memory.count
        else {
            return nil
        }
        return start - base
    }

    deinit {
        MappedFiles.register.remove(number)
        if let base = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: base), bytes.count) }
    }
}
