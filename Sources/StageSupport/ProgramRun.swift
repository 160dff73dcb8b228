import CSystem
import Foundation
import Scratch

/// Another program's run, from its start to its end, by `posix_spawn`. It reads /dev/null, and has no descriptor of this
/// process's but the three that it is given. (Foundation's `Process` finds those out from a listing of /proc/self/fd, and
/// ends this process by a trap where that fails.)
package struct ProgramRun {
    package enum End: Equatable, Sendable {
        case exited(Int32)
        case signalled(Int32)
    }

    package let end: End
    /// What it wrote to stdout, where that was kept.
    package let output: String
    /// The last that it wrote to stderr.
    package let errors: String

    /// What becomes of its stdout.
    package enum Output { case dropped, kept }

    /// Of what a program says on stderr its last words count.
    static let keptErrorBytes = 1 << 16

    /// A child that is started between a pipe and its mark would hold that open.
    private static let starting = NSLock()

    /// How often a wait looks whether the program shall go on, in milliseconds.
    private static let interval: Int32 = 200

    /// - Parameters:
    ///   - path: of the executable.
    ///   - environment: all that it has.
    ///   - isWanted: asked again and again while it runs; from the first `false` on it has been sent SIGTERM, once.
    /// - Throws: `IOError` where it can't be started.
    package init(
        _ path: String, _ arguments: [String], environment: [String: String] = ProcessInfo.processInfo.environment,
        output: Output = .dropped, isWanted: () -> Bool = { true }
    ) throws {
        let (outputPipe, errorPipe, child) = try Self.starting.withLock {
            let outputPipe = try Pipe(of: path), errorPipe = try Pipe(of: path)
            let child = try Self.start(
                path, arguments, environment, output: output == .kept ? outputPipe.writes : nil,
                errors: errorPipe.writes)
            return (outputPipe, errorPipe, child)
        }
        outputPipe.closeWriteEnd()
        errorPipe.closeWriteEnd()
        let said = Self.listen(to: [outputPipe.reads, errorPipe.reads], child, isWanted)
        self.output = String(decoding: said[0], as: UTF8.self)
        errors = String(decoding: said[1].suffix(Self.keptErrorBytes), as: UTF8.self)
        end = try Self.wait(for: child, path)
    }

    /// A group of its own: of what a terminal sends to all of its group this process hands on what the child shall get.
    /// And signals as every program expects them.
    private static func start(
        _ path: String, _ arguments: [String], _ environment: [String: String], output: Int32?, errors: Int32
    ) throws -> pid_t {
        var actions = posix_spawn_file_actions_t(), attributes = posix_spawnattr_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawnattr_init(&attributes)
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
        }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        if let output {
            posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
        } else {
            posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)
        }
        posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
        posix_spawnattr_setpgroup(&attributes, 0)
        var ordinary = sigset_t()
        sigemptyset(&ordinary)
        for number in [SIGPIPE, SIGXFSZ] { sigaddset(&ordinary, number) }
        posix_spawnattr_setsigdefault(&attributes, &ordinary)
        // The thread that starts it may hold signals off, and with them a program's own timers and ends of children.
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        crux_keep_from_children(UInt32(STDERR_FILENO) + 1)
        var words: [UnsafeMutablePointer<CChar>?] = ([path] + arguments).map { strdup($0) } + [nil]
        var settings: [UnsafeMutablePointer<CChar>?] = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { (words + settings).forEach { free($0) } }
        var child = pid_t()
        let status = posix_spawn(&child, path, &actions, &attributes, &words, &settings)
        guard status == 0 else { throw IOError(file: path, action: "start it", code: status) }
        return child
    }

    /// What comes on each descriptor until all are through.
    private static func listen(to descriptors: [Int32], _ child: pid_t, _ isWanted: () -> Bool) -> [[UInt8]] {
        var waits = descriptors.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        var said = [[UInt8]](repeating: [], count: waits.count), piece = [UInt8](repeating: 0, count: 1 << 12)
        var isAsked = false
        while waits.contains(where: { $0.fd >= 0 }) {
            if !isAsked, !isWanted() {
                kill(child, SIGTERM)
                isAsked = true
            }
            guard poll(&waits, nfds_t(waits.count), interval) > 0 else { continue }
            for place in waits.indices where waits[place].revents != 0 {
                let count = uninterrupted { read(waits[place].fd, &piece, piece.count) }
                guard count > 0 else {
                    // `poll` passes over negative ones.
                    waits[place].fd = -1
                    continue
                }
                said[place] += piece[..<count]
                if place > 0, said[place].count > 2 * keptErrorBytes {
                    said[place] = Array(said[place].suffix(keptErrorBytes))
                }
            }
        }
        return said
    }

    private static func wait(for child: pid_t, _ path: String) throws -> End {
        var status: Int32 = 0
        guard uninterrupted({ waitpid(child, &status, 0) }) == child else {
            throw IOError.fromErrno(path, "wait for its end")
        }
        let signal = status & 0x7f
        return signal == 0 ? .exited((status >> 8) & 0xff) : .signalled(signal)
    }
}

/// A pipe whose ends no child has but the one that is given them.
private final class Pipe {
    let reads: Int32
    private(set) var writes: Int32

    /// - Parameter path: of whose words it is for.
    init(of path: String) throws {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw IOError.fromErrno(path, "start it") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        (reads, writes) = (ends[0], ends[1])
    }

    func closeWriteEnd() {
        if writes >= 0 { close(writes) }
        writes = -1
    }

    deinit {
        closeWriteEnd()
        close(reads)
    }
}
