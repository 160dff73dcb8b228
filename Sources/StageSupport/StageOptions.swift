import ArgumentParser
import Foundation

package enum LogFormat: String, ExpressibleByArgument, CaseIterable, Sendable { case text, json }

/// The flags that all stages share.
package struct StageOptions: ParsableArguments {
    @Option(help: "Threads to use (default: all cores).")
    package var threads: Int?

    @Option(help: "Seed of every random choice.")
    package var seed: UInt64 = 0

    @Flag(help: "Begin anew, also where the output was made with another configuration.")
    package var overwrite = false

    @Flag(help: "Print what would run and stop.")
    package var dryRun = false

    @Flag(help: "No progress and no report on stderr; errors still appear.")
    package var quiet = false

    @Option(help: "Form of the messages on stderr: text or json.")
    package var logFormat = LogFormat.text

    @Option(help: "Number of tasks that share the work (default: from the scheduler's environment, else 1).")
    package var tasks: Int?

    @Option(help: "This task's number, from 0.")
    package var rank: Int?

    @Option(help: "Fail when more than this many rows are rejected (default: no limit).")
    package var maxRejected: Int?

    package init() {}

    package mutating func validate() throws {
        if let threads, threads < 1 { throw ValidationError("--threads is \(threads); it must be at least 1.") }
        if let maxRejected, maxRejected < 0 { throw ValidationError("--max-rejected is \(maxRejected); it must be at least 0.") }
        let share = share
        guard share.tasks >= 1, (0..<share.tasks).contains(share.rank) else {
            throw ValidationError("--rank \(share.rank) of --tasks \(share.tasks): ranks go from 0 to tasks - 1.")
        }
    }

    package var threadCount: Int { threads ?? ProcessInfo.processInfo.activeProcessorCount }

    /// Which part of the work is this process's: flags first, then what the scheduler set.
    package var share: (tasks: Int, rank: Int) {
        if tasks != nil || rank != nil { return (tasks ?? 1, rank ?? 0) }
        let environment = ProcessInfo.processInfo.environment
        for (count, rank) in Self.schedulerVariables {
            guard let tasks = environment[count].flatMap({ Int($0) }), tasks > 1, let rank = environment[rank].flatMap({ Int($0) }) else { continue }
            let first = count == "SLURM_ARRAY_TASK_COUNT" ? environment["SLURM_ARRAY_TASK_MIN"].flatMap { Int($0) } ?? 0 : 0
            return (tasks, rank - first)
        }
        return (1, 0)
    }

    private static let schedulerVariables = [
        ("SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_ID"), ("SLURM_NTASKS", "SLURM_PROCID"),
        ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"), ("JOB_COMPLETIONS", "JOB_COMPLETION_INDEX"),
    ]
}
