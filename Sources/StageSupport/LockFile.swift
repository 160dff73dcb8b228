import Foundation
import Scratch

/// A file that is locked (flock) for as long as its process lives, whatever ends it. It is removed by whoever holds it
/// alone, so a name in the folder means that somebody is at work there or was killed.
///
/// On NFS the kernel turns flock into a lock of the server (Linux 2.6.12 and newer). Where a file system has no locks,
/// `isReal` is false and nobody is kept out.
package final class LockFile: @unchecked Sendable {
    package enum Mode { case shared, exclusive }

    let path: String
    let isReal: Bool
    private let mutex = NSLock()
    private var descriptor: Int32

    private init(_ path: String, _ descriptor: Int32, isReal: Bool) {
        (self.path, self.descriptor, self.isReal) = (path, descriptor, isReal)
    }

    deinit { release() }

    /// What file systems say that have no locks, or can give none now (NFS without a lock service).
    private static let unknown: Set<Int32> = [ENOSYS, EOPNOTSUPP, EINVAL, ENOLCK]

    /// nil where somebody else has it. Throws `IOError`.
    package static func take(_ path: String, _ mode: Mode) throws -> LockFile? {
        while true {
            let descriptor = uninterrupted { open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644) }
            guard descriptor >= 0 else { throw IOError.fromErrno(path, "create the lock file") }
            if uninterrupted({ flock(descriptor, (mode == .shared ? LOCK_SH : LOCK_EX) | LOCK_NB) }) != 0 {
                let code = errno
                if unknown.contains(code) { return LockFile(path, descriptor, isReal: false) }
                close(descriptor)
                guard code == EWOULDBLOCK else { throw IOError(file: path, action: "lock the file", code: code) }
                return nil
            }
            // Whoever had it before may have removed it in between.
            if Self.isNamed(path, descriptor) { return LockFile(path, descriptor, isReal: true) }
            close(descriptor)
        }
    }

    /// Whether somebody has it so that it couldn't be taken. Asks without making the file.
    static func isTaken(_ path: String, _ mode: Mode = .exclusive) -> Bool {
        let descriptor = uninterrupted { open(path, O_RDWR | O_CLOEXEC) }
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        return uninterrupted({ flock(descriptor, (mode == .shared ? LOCK_SH : LOCK_EX) | LOCK_NB) }) != 0
            && errno == EWOULDBLOCK
    }

    private static func isNamed(_ path: String, _ descriptor: Int32) -> Bool {
        var own = stat(), named = stat()
        return fstat(descriptor, &own) == 0 && stat(path, &named) == 0 && own.st_ino == named.st_ino
            && own.st_dev == named.st_dev
    }

    /// What others read who find it taken.
    func write(_ text: String) {
        _ = ftruncate(descriptor, 0)
        let bytes = Array(text.utf8)
        _ = pwrite(descriptor, bytes, bytes.count, 0)
    }

    package func release() {
        mutex.withLock {
            guard descriptor >= 0 else { return }
            // The last of those who share it becomes its only holder and takes the file away.
            let isAlone = uninterrupted { flock(descriptor, LOCK_EX | LOCK_NB) } == 0
            if !isReal || isAlone, Self.isNamed(path, descriptor) { unlink(path) }
            close(descriptor)
            descriptor = -1
        }
    }
}
