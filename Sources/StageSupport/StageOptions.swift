import ArgumentParser
import Foundation

package enum LogFormat: String, Sendable, CaseIterable, ExpressibleByArgument {
    case text
    case json
}

/// The flags that every stage has.
package struct StageOptions: ParsableArguments, Sendable {
    @Option(help: "Threads to use; the results do not depend on it.")
    package var threads: Int = ProcessInfo.processInfo.activeProcessorCount

    @Option(help: "Seed of everything random.")
    package var seed: UInt64 = 0

    @Flag(help: "Discard what the output directory holds and make it anew.")
    package var overwrite = false

    @Flag(help: "Print what would run and stop.")
    package var dryRun = false

    @Flag(help: "No progress and no notes on stderr; warnings and errors stay.")
    package var quiet = false

    @Option(help: "Form of the lines on stderr: text or json.")
    package var logFormat: LogFormat = .text

    @Option(help: "Share the work among N processes, each with its own --rank.")
    package var tasks: Int?

    @Option(help: "Which of the --tasks this is, from 0; else the scheduler's environment says it.")
    package var rank: Int?

    @Option(help: "Refuse the input when more rows than this are rejected.")
    package var maxRejected: Int?

    package init() {}

    package mutating func validate() throws {
        guard threads >= 1 else { throw ValidationError("--threads \(threads): expected at least 1") }
        if let maxRejected, maxRejected < 0 { throw ValidationError("--max-rejected \(maxRejected): expected 0 or more") }
    }
}
