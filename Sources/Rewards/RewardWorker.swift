import Foundation

/// One process of the reward command: a request line in, an answer line out, each within a deadline. Not for two threads at once.
final class RewardWorker {
    /// Why a request got no answer; raw values are verdicts.
    enum Failure: String, Error {
        case timeout = "reward_timeout"
        case died = "reward_died"
        case rubbish = "reward_rubbish"
    }

    private let child: pid_t
    private let input: Int32
    private let output: Int32
    private var pending: [UInt8] = []
    private(set) var isAlive = true
    /// True once it has answered anything: a command that never does is wrong as a whole.
    private(set) var hasAnswered = false

    /// Lines that are no JSON object are a program's chatter, up to this many for a request.
    private static let patience = 1000

    /// Spawning and marking descriptors must not mix: a worker that inherits another's pipe would keep it open.
    private static let spawning = NSLock()

    /// `command`: a shell command line. Its stderr goes to the end of `log`.
    init(command: String, log: String) throws {
        Self.spawning.lock()
        defer { Self.spawning.unlock() }
        let toChild = try Self.pipe(), fromChild = try Self.pipe()
        var actions = posix_spawn_file_actions_t(), attributes = posix_spawnattr_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawnattr_init(&attributes)
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
        }
        posix_spawn_file_actions_adddup2(&actions, toChild.read, STDIN_FILENO)
        posix_spawn_file_actions_adddup2(&actions, fromChild.write, STDOUT_FILENO)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log, O_WRONLY | O_CREAT | O_APPEND, 0o644)
        // A group of its own, so that a shell's children end with it.
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
        posix_spawnattr_setpgroup(&attributes, 0)
        let arguments: [String] = ["/bin/sh", "-c", command]
        var words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        var environment: [UnsafeMutablePointer<CChar>?] = Self.environment.map { strdup($0) } + [nil]
        defer { (words + environment).forEach { free($0) } }
        var pid = pid_t()
        let status = posix_spawn(&pid, "/bin/sh", &actions, &attributes, &words, &environment)
        close(toChild.read)
        close(fromChild.write)
        guard status == 0 else {
            close(toChild.write)
            close(fromChild.read)
            throw Failure.died
        }
        (child, input, output) = (pid, toChild.write, fromChild.read)
        _ = fcntl(input, F_SETFL, fcntl(input, F_GETFL) | O_NONBLOCK)
    }

    deinit { stop() }

    /// Python would keep its answers in a buffer while we wait for them.
    private static var environment: [String] {
        ProcessInfo.processInfo.environment.merging(["PYTHONUNBUFFERED": "1", "CRUX_REWARD_PROTOCOL": "1"]) { $1 }.map { "\($0.key)=\($0.value)" }
    }

    private static func pipe() throws -> (read: Int32, write: Int32) {
        var ends: [Int32] = [0, 0]
        guard Glibc.pipe(&ends) == 0 else { throw Failure.died }
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
        waitpid(child, &status, 0)
        close(input)
        close(output)
    }

    /// The answer with this request's id; answers to other ids are passed over.
    func ask(_ request: [String: any Sendable], id: String, seconds: Double) throws -> [String: Any] {
        let deadline = Date().addingTimeInterval(seconds)
        let line = try JSONSerialization.data(withJSONObject: request, options: [.sortedKeys, .withoutEscapingSlashes])
        try write(Array(line) + [UInt8(ascii: "\n")], deadline)
        for _ in 0..<Self.patience {
            let text = try readLine(deadline)
            guard text.first == UInt8(ascii: "{") else { continue }
            guard let answer = try? JSONSerialization.jsonObject(with: Data(text)) as? [String: Any] else { throw Failure.rubbish }
            if Self.isGreeting(answer) { continue }
            guard let answered = answer["id"].map({ "\($0)" }) else { throw Failure.rubbish }
            hasAnswered = true
            if answered == id { return answer }
        }
        throw Failure.rubbish
    }

    /// A worker may say first which version of the protocol it speaks.
    private static func isGreeting(_ answer: [String: Any]) -> Bool { answer["protocol"] as? String == "crux-reward" && answer["id"] == nil }

    private func write(_ bytes: [UInt8], _ deadline: Date) throws {
        var done = 0
        while done < bytes.count {
            try wait(for: input, Int16(POLLOUT), deadline)
            let count = bytes.withUnsafeBytes { Glibc.write(input, $0.baseAddress! + done, bytes.count - done) }
            if count > 0 { done += count } else if errno != EAGAIN, errno != EINTR { throw Failure.died }
        }
    }

    /// A line without its end.
    private func readLine(_ deadline: Date) throws -> [UInt8] {
        while true {
            if let end = pending.firstIndex(of: UInt8(ascii: "\n")) {
                defer { pending.removeSubrange(...end) }
                return Array(pending[..<end])
            }
            try wait(for: output, Int16(POLLIN), deadline)
            var chunk = [UInt8](repeating: 0, count: 1 << 16)
            let count = read(output, &chunk, chunk.count)
            guard count > 0 else {
                if count < 0, errno == EINTR { continue }
                throw Failure.died
            }
            pending += chunk[..<count]
        }
    }

    private func wait(for descriptor: Int32, _ events: Int16, _ deadline: Date) throws {
        while true {
            let left = deadline.timeIntervalSinceNow
            guard left > 0 else { throw Failure.timeout }
            var wanted = pollfd(fd: descriptor, events: events, revents: 0)
            let ready = poll(&wanted, 1, Int32(min(left * 1000 + 1, 1e9)))
            if ready > 0 { return }
            if ready < 0, errno != EINTR { throw Failure.died }
        }
    }
}
