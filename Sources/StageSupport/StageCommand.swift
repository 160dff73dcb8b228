import ArgumentParser
import CSystem
import Dispatch
import Formats
import Foundation
import Logging
import Scratch

/// A stage: its flags, and load → transform → save in `runStage`. What all stages do alike — exit codes, one clear line
/// for an error, signals, the summary — happens here.
package protocol StageCommand: ParsableCommand {
    static var stage: String { get }
    var options: StageOptions { get }
    static var memoryHabit: MemoryHabit { get }
    /// Returns what the one-line JSON summary on stdout says.
    func runStage(_ context: StageContext) throws -> StageSummary
}

/// What becomes of memory that a stage has freed.
package enum MemoryHabit {
    /// Large blocks go back to the kernel.
    case returned
    /// It stays with the process: for stages that take and give back the same large blocks again and again.
    case kept
    /// The same, and what one thread has freed serves the others, for stages whose threads hand over what they make.
    case shared

    fileprivate func adopt() {
        if self == .returned { return }
        crux_keep_freed_memory()
        if self == .shared { crux_share_freed_memory() }
    }
}

/// Version of the tool, in every manifest and file.
package let cruxVersion = "0.1.0"

/// What a run says on stdout when it is through.
package struct StageSummary {
    package var status = ExitStatus.done
    package var fields: [String: any Sendable] = [:]

    package init(status: ExitStatus = .done, _ fields: [String: any Sendable]) {
        self.status = status
        self.fields = fields
    }
}

extension StageCommand {
    package static var memoryHabit: MemoryHabit { .returned }

    /// `main` of the executable.
    package static func runMain() -> Never {
        do {
            var command = try parseAsRoot()
            guard let stageCommand = command as? Self else {
                try command.run()  // --help and the like
                Foundation.exit(ExitStatus.done.rawValue)
            }
            Foundation.exit(stageCommand.execute().rawValue)
        } catch {
            let code = exitCode(for: error)
            if code == .success { print(message(for: error)) } else { writeError(fullMessage(for: error)) }
            Foundation.exit(code == .success ? ExitStatus.done.rawValue : ExitStatus.usage.rawValue)
        }
    }

    private func execute() -> ExitStatus {
        if let parent = ProcessInfo.processInfo.environment[SiblingStages.dieWithParent].flatMap({ Int32($0) }), crux_die_with_parent(parent) != 0 {
            return .interrupted
        }
        Self.memoryHabit.adopt()
        let context = StageContext(stage: Self.stage, options: options)
        Interruption.shared.listen()
        do {
            let summary = try runStage(context)
            context.printSummary(summary)
            return summary.status
        } catch {
            let (status, text) = Self.explain(error)
            context.report(error: text)
            return status
        }
    }

    private static func explain(_ error: any Error) -> (ExitStatus, String) {
        switch error {
        case let error as StageError: (error.status, error.description)
        case let error as IOError: (.outputFailure, error.description)
        case let error as FormatError: (.invalidInput, error.description)
        case let error as FrameError: (.invalidInput, error.description)
        case is ValidationError: (.usage, "\(error)")
        default: (.invalidInput, "\(error)")
        }
    }
}

func writeError(_ text: String) { FileHandle.standardError.write(Data((text + "\n").utf8)) }

/// What a stage's work may ask of its surroundings.
package final class StageContext: Sendable {
    package let stage: String
    package let options: StageOptions
    package let threads: Int
    private let logger: Logger

    init(stage: String, options: StageOptions) {
        self.stage = stage
        self.options = options
        threads = options.threadCount
        let format = options.logFormat
        logger = Logger(label: "crux-\(stage)") { label in StderrLog(label: label, format: format) }
    }

    /// A line for the user, unless --quiet.
    package func say(_ text: String) { if !options.quiet { logger.info("\(text)") } }

    package func warn(_ text: String) { if !options.quiet { logger.warning("\(text)") } }

    /// What ends a run with another status than 0, also with --quiet.
    package func report(error text: String) { logger.error("\(text)") }

    func printSummary(_ summary: StageSummary) {
        var object: [String: Any] = summary.fields
        object["stage"] = stage
        object["status"] = Int(summary.status.rawValue)
        guard let data = try? JSONSerialization.data(withJSONObject: object, options: [.sortedKeys, .withoutEscapingSlashes]) else { return }
        print(String(decoding: data, as: UTF8.self))
    }

    /// Throws when a signal has asked the run to stop. Call it between pieces of work.
    package func checkInterruption() throws {
        guard Interruption.shared.isRequested else { return }
        throw StageError(.interrupted, "interrupted: finished pieces are kept; run the same command again to go on")
    }
}

/// Plain lines for people, JSON lines for machines, on stderr.
private struct StderrLog: LogHandler {
    let label: String
    let format: LogFormat
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    init(label: String, format: LogFormat) {
        self.label = label
        self.format = format
    }

    func log(event: LogEvent) {
        let (level, message) = (event.level, event.message)
        switch format {
        case .text: writeError(level >= .warning ? "\(label): \(level): \(message)" : "\(label): \(message)")
        case .json:
            let object = ["command": label, "level": "\(level)", "message": "\(message)"]
            let data = try? JSONSerialization.data(withJSONObject: object, options: [.sortedKeys, .withoutEscapingSlashes])
            writeError(String(decoding: data ?? Data(), as: UTF8.self))
        }
    }
}

/// SIGTERM, SIGINT and SIGUSR1 (Slurm's warning) ask for a stop at the next piece of work; a second one ends the run at
/// once, which is safe: nothing half-written carries a final name.
final class Interruption: @unchecked Sendable {
    static let shared = Interruption()
    private let lock = NSLock()
    private var requested = false
    private var sources: [any DispatchSourceSignal] = []

    var isRequested: Bool { lock.withLock { requested } }

    func listen() {
        // A file that outgrows its limit shall be a failed write with a message, not a silent death.
        signal(SIGXFSZ, SIG_IGN)
        for number in [SIGTERM, SIGINT, SIGUSR1] {
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { [self] in
                if lock.withLock({
                    let again = requested; requested = true; return again
                }) {
                    _exit(ExitStatus.interrupted.rawValue)
                }
            }
            source.resume()
            sources.append(source)
        }
    }
}
