import ArgumentParser
import Foundation

package enum LogFormat: String, ExpressibleByArgument, CaseIterable, Sendable { case text, json }

/// The flags that all stages share.
package struct StageOptions: ParsableArguments {
    @Option(help: "Threads to use (default: as many as the process may have processors).")
    package var threads: Int?

    @Option(help: "Seed of every random choice.")
    package var seed: UInt64 = 0

    @Flag(help: "Begin anew, also where the output was made with another configuration.")
    package var overwrite = false

    @Flag(help: "Check all that a run would check, print what it would do, and stop.")
    package var dryRun = false

    @Flag(help: "No progress and no report on stderr; errors still appear.")
    package var quiet = false

    @Option(help: "Form of the messages on stderr: text or json.")
    package var logFormat = LogFormat.text

    @Option(
        help:
            "Number of tasks that share the work, with --rank; auto: both from Slurm's, MPI's or Kubernetes' variables (default: 1)."
    )
    package var tasks: TaskCount?

    @Option(help: "This task's number, from 0.")
    package var rank: Int?

    @Option(help: "Fail when more than this many rows are rejected (default: no limit).")
    package var maxRejected: Int?

    @Flag(
        help:
            "Don't compare the digests of input tables with their manifests. Lengths, rows and values are checked all the same."
    )
    package var noVerify = false

    package init() {}

    /// More than any machine has; each takes memory for its stack.
    private static let mostThreads = 4096

    package mutating func validate() throws {
        if let threads, !(1...Self.mostThreads).contains(threads) {
            throw ValidationError("--threads is \(threads); it must be at least 1 and at most \(Self.mostThreads).")
        }
        if let maxRejected, maxRejected < 0 {
            throw ValidationError("--max-rejected is \(maxRejected); it must be at least 0.")
        }
        do { _ = try TaskShare(tasks: tasks, rank: rank) } catch let error as StageError {
            throw ValidationError(error.description)
        }
    }

    package var threadCount: Int { threads ?? min(Self.mostThreads, ProcessorCount.available()) }

    /// Which part of the work is this process's. `validate()` has seen that it is well defined.
    package var share: TaskShare { (try? TaskShare(tasks: tasks, rank: rank)) ?? .whole }
}
