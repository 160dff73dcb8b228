import CSystem
import Foundation

/// A file without a name, so that nothing is left behind, whatever happens: for what is too large for memory and needed for a while.
package final class UnnamedFile {
    private let folder: String
    private let descriptor: Int32
    package private(set) var count = 0

    package init(folder: String) throws {
        self.folder = folder
        let unnamed = crux_open_unnamed(folder)
        descriptor = unnamed >= 0 ? unnamed : try Self.openAndUnlink(folder)
    }

    /// For file systems that can't do without a name: it is there for a moment.
    private static func openAndUnlink(_ folder: String) throws -> Int32 {
        let suffix = AtomicFile.temporarySuffix
        var path = Array((folder + "/XXXXXX" + suffix).utf8CString)
        let descriptor = mkstemps(&path, Int32(suffix.utf8.count))
        guard descriptor >= 0 else { throw IOError.fromErrno(folder, "create a temporary file there") }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        unlink(path)
        return descriptor
    }

    deinit { close(descriptor) }

    package func append(_ data: UnsafeRawBufferPointer) throws {
        var done = 0
        while done < data.count {
            let written = pwrite(descriptor, data.baseAddress! + done, data.count - done, off_t(count + done))
            if written < 0, errno == EINTR { continue }
            guard written > 0 else { throw IOError.fromErrno(folder, "write a temporary file there") }
            done += written
        }
        count += data.count
    }

    package func read(into target: UnsafeMutableRawBufferPointer, at offset: Int) throws {
        var done = 0
        while done < target.count {
            let got = pread(descriptor, target.baseAddress! + done, target.count - done, off_t(offset + done))
            if got < 0, errno == EINTR { continue }
            guard got > 0 else { throw IOError.fromErrno(folder, "read a temporary file there") }
            done += got
        }
    }
}
