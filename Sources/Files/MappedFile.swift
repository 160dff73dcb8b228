import Foundation
import Scratch

/// A whole file mapped for reading: pages come in as they are touched and leave under pressure, so files larger than
/// memory are ordinary.
package final class MappedFile: @unchecked Sendable {
    package let path: String
    package let bytes: UnsafeRawBufferPointer

    package init(path: String) throws {
        self.path = path
        let descriptor = uninterrupted { open(path, O_RDONLY | O_CLOEXEC) }
        guard descriptor >= 0 else { throw unreadable(path) }
        defer { close(descriptor) }
        var status = stat()
        guard uninterrupted({ fstat(descriptor, &status) }) == 0 else { throw unreadable(path) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw FormatError(file: path, place: "", found: "something that is not a regular file", expected: "a file")
        }
        guard status.st_size > 0 else { bytes = UnsafeRawBufferPointer(start: nil, count: 0); return }
        guard let address = mmap(nil, Int(status.st_size), PROT_READ, MAP_PRIVATE, descriptor, 0), address != MAP_FAILED
        else {
            throw IOError.fromErrno(path, "map it")
        }
        bytes = UnsafeRawBufferPointer(start: address, count: Int(status.st_size))
    }

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

    deinit { if let base = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: base), bytes.count) } }
}
