import Foundation

/// One process that works in a stage directory: where, when, by which command, and how it ended.
package struct RunAttempt: Codable, Equatable, Sendable {
    package var rank: Int
    package var tasks: Int
    package var host: String
    package var process: Int32
    /// ISO 8601, UTC.
    package var started: String
    /// Absent where the process has said nothing more: it is at work, or was killed.
    package var ended: String?
    package var seconds: Double?
    /// Exit code.
    package var status: Int32?
    /// With the executable's name before its arguments.
    package var command: [String]
    /// The folder that it was started in: paths of the command are relative to it.
    package var folder: String
    /// What a scheduler calls it, by the names of its variables.
    package var scheduler: [String: String]?

    /// This process, now.
    init(_ share: TaskShare, environment: [String: String] = ProcessInfo.processInfo.environment) {
        (rank, tasks) = (share.rank, share.tasks)
        (host, process, started) = (ownHostName, getpid(), timestamp())
        let words = CommandLine.arguments
        command = words.prefix(1).map { ($0 as NSString).lastPathComponent } + words.dropFirst()
        folder = FileManager.default.currentDirectoryPath
        let named = environment.filter { Self.schedulerVariables.contains($0.key) && !$0.value.isEmpty }
        scheduler = named.isEmpty ? nil : named
    }

    /// What tells a job from others in a scheduler's own records.
    private static let schedulerVariables: Set<String> = [
        "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT", "PBS_JOBID", "LSB_JOBID",
        "JOB_COMPLETION_INDEX",
    ]
}

/// What this machine calls itself.
package var ownHostName: String {
    var bytes = [CChar](repeating: 0, count: 256)
    return gethostname(&bytes, 255) == 0 ? String(cString: bytes) : "?"
}
