import CSystem
import Foundation

/// A child process that has stdin, stdout and stderr as they are given, and no other file of ours.
///
/// Foundation's `Process` learns of an end by a socket that the child inherits, and with it whatever the child starts
/// and every other child that is started meanwhile: a wait then lasts until the last of them has ended.
final class Spawned: @unchecked Sendable {
    let identifier: pid_t
    private let mutex = NSLock()
    private var ended: Int32?

    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// `standardInput` and the others: descriptors of this process.
    init(
        _ path: String, _ arguments: [String], environment: [String: String],
        standardInput: Int32, standardOutput: Int32, standardError: Int32
    ) throws {
        var actions = posix_spawn_file_actions_t(), attributes = posix_spawnattr_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawnattr_init(&attributes)
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
        }
        posix_spawn_file_actions_adddup2(&actions, standardInput, STDIN_FILENO)
        posix_spawn_file_actions_adddup2(&actions, standardOutput, STDOUT_FILENO)
        posix_spawn_file_actions_adddup2(&actions, standardError, STDERR_FILENO)
        crux_keep_from_children(UInt32(STDERR_FILENO) + 1)
        // Signals as a shell would leave them, whatever runs the tests.
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        var none = sigset_t(), all = sigset_t()
        sigemptyset(&none)
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        var words: [UnsafeMutablePointer<CChar>?] = ([path] + arguments).map { strdup($0) } + [nil]
        var variables: [UnsafeMutablePointer<CChar>?] = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { (words + variables).forEach { free($0) } }
        var child = pid_t()
        let status = posix_spawn(&child, path, &actions, &attributes, &words, &variables)
        guard status == 0 else {
            throw Failure(description: "\(path): can't be started: \(String(cString: strerror(status)))")
        }
        identifier = child
    }

    var isRunning: Bool { mutex.withLock { look(WNOHANG) == nil } }

    /// The exit code, or minus the number of the signal that ended it.
    func wait() -> Int32 {
        // Looking again and again, so that others may ask meanwhile whether it is running.
        var pause: UInt32 = 200
        while true {
            if let status = mutex.withLock({ look(WNOHANG) }) { return status }
            usleep(pause)
            pause = min(pause * 2, 5000)
        }
    }

    private func look(_ options: Int32) -> Int32? {
        if let ended { return ended }
        var status: Int32 = 0
        guard waitpid(identifier, &status, options) == identifier else { return nil }
        let signal = status & 0x7f
        ended = signal == 0 ? (status >> 8) & 0xff : -signal
        return ended
    }
}

/// Whether a process is at work: one that has ended and waits for its parent to ask (a zombie) is not.
package func isAtWork(_ process: pid_t) -> Bool {
    guard let bytes = FileManager.default.contents(atPath: "/proc/\(process)/stat") else { return false }
    // PID (NAME) STATE …, where the name may hold anything.
    let text = String(decoding: bytes, as: UTF8.self)
    guard let name = text.range(of: ") ", options: .backwards) else { return false }
    return !["Z", "X"].contains(text[name.upperBound...].prefix(1))
}
