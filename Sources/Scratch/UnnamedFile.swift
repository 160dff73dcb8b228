import CSystem
import Foundation

/// A file without a name, so that nothing is left behind, whatever happens: for what is too large for memory and needed
/// for a while.
package final class UnnamedFile {
    /// What the name of an unfinished file ends with, where it has one.
    package static let temporarySuffix = ".tmp-crux"

    private let folder: String
    private let descriptor: Int32
    package private(set) var count = 0

    package init(folder: String) throws {
        self.folder = folder
        let unnamed = uninterrupted { crux_open_unnamed(folder) }
        descriptor = unnamed >= 0 ? unnamed : try Self.openAndUnlink(folder)
    }

    /// For file systems that can't do without a name: it is there for a moment.
    private static func openAndUnlink(_ folder: String) throws -> Int32 {
        let suffix = temporarySuffix
        var path = Array((folder + "/XXXXXX" + suffix).utf8CString)
        let descriptor = mkstemps(&path, Int32(suffix.utf8.count))
        guard descriptor >= 0 else { throw IOError.fromErrno(folder, "create a temporary file there") }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        unlink(path)
        return descriptor
    }

    deinit { close(descriptor) }

    package func append(_ data: UnsafeRawBufferPointer) throws { try write(data, at: count) }

    /// Over what stands there, or beyond the end.
    package func write(_ data: UnsafeRawBufferPointer, at offset: Int) throws {
        guard let base = data.baseAddress else { return }
        try move(data.count, "write") { pwrite(descriptor, base + $0, data.count - $0, off_t(offset + $0)) }
        count = max(count, offset + data.count)
    }

    package func read(into target: UnsafeMutableRawBufferPointer, at offset: Int) throws {
        try move(target.count, "read") {
            pread(descriptor, target.baseAddress! + $0, target.count - $0, off_t(offset + $0))
        }
    }

    /// `call` moves what is left behind the bytes that are done, or some of it, and returns how many bytes it has
    /// moved.
    private func move(_ count: Int, _ verb: String, _ call: (_ done: Int) -> Int) throws {
        var done = 0
        while done < count {
            let moved = uninterrupted { call(done) }
            if moved == 0 {
                throw IOError(file: folder, action: "\(verb) a temporary file there", reason: "the file ended")
            }
            guard moved > 0 else { throw IOError.fromErrno(folder, "\(verb) a temporary file there") }
            done += moved
        }
    }

    /// Makes room for so many bytes, all 0: a full disk is told here, not by a signal where the first of them is
    /// touched.
    package func extend(to size: Int) throws {
        // It returns its error, an interruption as well.
        repeat { errno = posix_fallocate(descriptor, 0, off_t(size)) } while errno == EINTR
        guard errno == 0 else {
            throw IOError.fromErrno(folder, "make room for a temporary file of \(size) bytes there")
        }
        count = max(count, size)
    }

    /// All of it as memory, which stays when the file is closed; `writable` only behind `extend`.
    package func map(writable: Bool) throws -> UnsafeMutableRawBufferPointer {
        let address = mmap(nil, count, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, descriptor, 0)
        guard let address, address != MAP_FAILED else { throw IOError.fromErrno(folder, "map a temporary file there") }
        return UnsafeMutableRawBufferPointer(start: address, count: count)
    }
}
