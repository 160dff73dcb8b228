import Files
import Foundation
import StageSupport

/// Runs one of the executables beside this one and says how long it took and how much memory it had at its peak.
struct ChildProcess {
    let seconds: Double
    let peakBytes: Int
    /// The line of JSON on its stdout.
    let summary: [String: Any]

    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    init(_ name: String, _ arguments: [String]) throws {
        let own =
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
        let path = parentFolder(own) + "/" + name
        var words: [UnsafeMutablePointer<CChar>?] = ([path] + arguments + ["--quiet"]).map { strdup($0) } + [nil]
        defer { words.forEach { free($0) } }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        let output = FileManager.default.temporaryDirectory.path + "/crux-bench-output-\(getpid())"
        defer { unlink(output) }
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        var child = pid_t(), status: Int32 = 0
        let start = DispatchTime.now().uptimeNanoseconds
        guard posix_spawn(&child, path, &actions, nil, &words, environ) == 0 else {
            throw Failure(description: "could not start \(path)")
        }
        var peak = 0
        while waitpid(child, &status, WNOHANG) == 0 {
            // The figure that `wait4` gives is inherited from this process.
            peak = max(peak, ProcessMemory.peak(of: child))
            usleep(2000)
        }
        seconds = Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9
        peakBytes = peak
        summary =
            FileManager.default.contents(atPath: output).flatMap {
                try? JSONSerialization.jsonObject(with: $0) as? [String: Any]
            } ?? [:]
        guard status == 0 else {
            throw Failure(description: "\(name) \(arguments.joined(separator: " ")) ended with status \(status)")
        }
    }
}
