import Formats
import Foundation

/// One process of the reward command: a request line in, an answer line out, each within a deadline. Not for two
/// threads at once.
final class RewardWorker {
    /// Why a request got no answer.
    enum Failure: Error {
        case timeout, crashed, invalid

        var verdict: Verdict {
            switch self {
            case .timeout: .rewardTimeout
            case .crashed: .rewardCrashed
            case .invalid: .rewardInvalid
            }
        }
    }

    private let child: pid_t
    private let input: Int32
    private let output: Int32
    private let errors: ErrorLog
    /// Held open for as long as this process lives.
    private let lifeline: Int32
    private var pending: [UInt8] = []
    /// Of `pending`, bytes that hold no end of a line.
    private var searched = 0
    private(set) var isAlive = true
    /// True once it has answered anything: a command that never does is wrong as a whole.
    private(set) var hasAnswered = false

    /// Lines that are no JSON object are a program's chatter, up to this many for a request.
    private static let patience = 1000
    /// No answer is longer.
    private static let longestLine = 16 << 20
    /// How often a wait looks whether it is still wanted, in milliseconds.
    private static let interval = 200

    /// Spawning and marking descriptors must not mix: a worker that inherits another's pipe would keep it open.
    private static let spawning = NSLock()

    /// Beside the command, in its process group, waits a shell for the end of this process, however that comes, and
    /// ends the group then. (A signal at the parent's death would reach the command's shell alone, and not what that
    /// has started.)
    private static let script = "{ read -r _ <&3; kill -KILL 0; } >/dev/null 2>&1 & exec 3<&-; exec /bin/sh -c \"$1\""

    /// `command`: a shell command line. Its stderr goes to the end of `log`, as far as that has room.
    init(command: String, log: String) throws {
        Self.spawning.lock()
        defer { Self.spawning.unlock() }
        let toChild = try Self.pipe(), fromChild = try Self.pipe(), fromErrors = try Self.pipe(), life = try Self.pipe()
        var actions = posix_spawn_file_actions_t(), attributes = posix_spawnattr_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawnattr_init(&attributes)
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
        }
        posix_spawn_file_actions_adddup2(&actions, toChild.read, STDIN_FILENO)
        posix_spawn_file_actions_adddup2(&actions, fromChild.write, STDOUT_FILENO)
        posix_spawn_file_actions_adddup2(&actions, fromErrors.write, STDERR_FILENO)
        // Last, because one of the others may have this number.
        posix_spawn_file_actions_adddup2(&actions, life.read, STDERR_FILENO + 1)
        // A group of its own, so that a shell's children end with it; and signals as every program expects them.
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
        let arguments: [String] = ["/bin/sh", "-c", Self.script, "crux-reward", command]
        var words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        var environment: [UnsafeMutablePointer<CChar>?] = Self.environment.map { strdup($0) } + [nil]
        defer { (words + environment).forEach { free($0) } }
        var pid = pid_t()
        let status = posix_spawn(&pid, "/bin/sh", &actions, &attributes, &words, &environment)
        for end in [toChild.read, fromChild.write, fromErrors.write, life.read] { close(end) }
        guard status == 0 else {
            for end in [toChild.write, fromChild.read, fromErrors.read, life.write] { close(end) }
            throw Failure.crashed
        }
        (child, input, output, lifeline) = (pid, toChild.write, fromChild.read, life.write)
        errors = ErrorLog(descriptor: fromErrors.read, path: log)
        _ = fcntl(input, F_SETFL, fcntl(input, F_GETFL) | O_NONBLOCK)
    }

    /// The last words of its stderr.
    var said: String { errors.tail }

    deinit { stop() }

    /// Python would keep its answers in a buffer while we wait for them.
    private static var environment: [String] {
        ProcessInfo.processInfo.environment.merging(["PYTHONUNBUFFERED": "1", "CRUX_REWARD_PROTOCOL": "1"]) { $1 }.map {
            "\($0.key)=\($0.value)"
        }
    }

    private static func pipe() throws -> (read: Int32, write: Int32) {
        var ends: [Int32] = [0, 0]
        guard Glibc.pipe(&ends) == 0 else { throw Failure.crashed }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        return (ends[0], ends[1])
    }

    /// Ends it and everything it started.
    func stop() {
        guard isAlive else { return }
        isAlive = false
        kill(-child, SIGKILL)
        kill(child, SIGKILL)
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0, errno == EINTR {}
        errors.drain()
        errors.close()
        for end in [input, output, lifeline] { close(end) }
    }

    /// The answer with this request's id; answers to other ids are passed over. `check` is asked again and again while
    /// it waits, and may throw.
    func ask(
        _ request: [String: any Sendable], id: String, seconds: Double, check: () throws -> Void = {}
    ) throws -> [String: Any] {
        let deadline = Date().addingTimeInterval(seconds)
        let line = try JSONSerialization.data(withJSONObject: request, options: [.sortedKeys, .withoutEscapingSlashes])
        try write(Array(line) + [UInt8(ascii: "\n")], deadline, check)
        for _ in 0..<Self.patience {
            let text = try readLine(deadline, check)
            guard text.first == UInt8(ascii: "{") else { continue }
            guard let answer = try? JSONSerialization.jsonObject(with: Data(text)) as? [String: Any] else {
                throw Failure.invalid
            }
            if Self.isGreeting(answer) { continue }
            guard let answered = answer["id"].map({ "\($0)" }) else { throw Failure.invalid }
            hasAnswered = true
            if answered == id { return answer }
        }
        throw Failure.invalid
    }

    /// A worker may say first which version of the protocol it speaks.
    private static func isGreeting(_ answer: [String: Any]) -> Bool {
        answer["protocol"] as? String == "crux-reward" && answer["id"] == nil
    }

    private func write(_ bytes: [UInt8], _ deadline: Date, _ check: () throws -> Void) throws {
        var done = 0
        while done < bytes.count {
            try wait(for: input, Int16(POLLOUT), deadline, check)
            let count = bytes.withUnsafeBytes { Glibc.write(input, $0.baseAddress! + done, bytes.count - done) }
            if count > 0 { done += count } else if errno != EAGAIN, errno != EINTR { throw Failure.crashed }
        }
    }

    /// A line without its end.
    private func readLine(_ deadline: Date, _ check: () throws -> Void) throws -> [UInt8] {
        while true {
            if let end = pending[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                defer {
                    pending.removeSubrange(...end)
                    searched = 0
                }
                return Array(pending[..<end])
            }
            searched = pending.count
            guard pending.count <= Self.longestLine else { throw Failure.invalid }
            try wait(for: output, Int16(POLLIN), deadline, check)
            var chunk = [UInt8](repeating: 0, count: 1 << 16)
            let count = read(output, &chunk, chunk.count)
            guard count > 0 else {
                if count < 0, errno == EINTR { continue }
                throw Failure.crashed
            }
            pending += chunk[..<count]
        }
    }

    /// Takes what it says on stderr meanwhile, so that it never has to wait to be heard there.
    private func wait(for descriptor: Int32, _ events: Int16, _ deadline: Date, _ check: () throws -> Void) throws {
        while true {
            try check()
            let left = deadline.timeIntervalSinceNow
            guard left > 0 else { throw Failure.timeout }
            var wanted = [
                pollfd(fd: descriptor, events: events, revents: 0),
                pollfd(fd: errors.pollable, events: Int16(POLLIN), revents: 0),
            ]
            let ready = poll(&wanted, 2, Int32(min(left * 1000 + 1, Double(Self.interval))))
            if ready < 0, errno != EINTR { throw Failure.crashed }
            guard ready > 0 else { continue }
            if wanted[1].revents != 0 { errors.drain() }
            if wanted[0].revents != 0 { return }
        }
    }
}
