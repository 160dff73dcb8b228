import Foundation

/// A whole file mapped for reading: pages come in as they are touched and leave under pressure, so files larger than
/// memory are ordinary.
package final class MappedFile: @unchecked Sendable {
    package let path: String
    package let bytes: UnsafeRawBufferPointer

    package init(path: String) throws {
        self.path = path
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Self.unreadable(path) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw Self.unreadable(path) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw FormatError(file: path, place: "", found: "something that is not a regular file", expected: "a file")
        }
        guard status.st_size > 0 else { bytes = UnsafeRawBufferPointer(start: nil, count: 0); return }
        guard let address = mmap(nil, Int(status.st_size), PROT_READ, MAP_PRIVATE, descriptor, 0), address != MAP_FAILED else {
            throw Self.unreadable(path)
        }
        bytes = UnsafeRawBufferPointer(start: address, count: Int(status.st_size))
    }

    /// Gives back the memory of pages wholly inside `range`; touching them again reads them anew. What has been consumed
    /// of a large file need not count against this process.
    package func release(_ range: Range<Int>) {
        guard let base = bytes.baseAddress else { return }
        let page = 4096, start = (range.lowerBound + page - 1) / page * page, end = range.upperBound / page * page
        guard end > start else { return }
        madvise(UnsafeMutableRawPointer(mutating: base) + start, end - start, MADV_DONTNEED)
    }

    /// Where in the file a stretch of memory was mapped from; nil where it wasn't.
    func offset(of memory: UnsafeRawBufferPointer) -> Int? {
        guard let base = bytes.baseAddress, let start = memory.baseAddress, start >= base, memory.count <= bytes.count, start - base <= bytes.count - memory.count else {
            return nil
        }
        return start - base
    }

    deinit { if let base = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: base), bytes.count) } }

    private static func unreadable(_ path: String) -> FormatError {
        FormatError(
            file: path, place: "", found: String(cString: strerror(errno)).lowercased(), expected: "a readable file",
            remedy: "Check the path and its permissions.")
    }
}
