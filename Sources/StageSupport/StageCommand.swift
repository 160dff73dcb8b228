import ArgumentParser
import CSystem
import Formats
import Foundation
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
        StandardStreams.prepare()
        do {
            var command = try parseAsRoot()
            guard let stageCommand = command as? Self else {
                try command.run()  // --help and the like
                Foundation.exit(ExitStatus.done.rawValue)
            }
            Foundation.exit(stageCommand.execute().rawValue)
        } catch {
            let isHelp = exitCode(for: error) == .success
            guard !isHelp else {
                StandardStreams.write(message(for: error) + "\n", to: STDOUT_FILENO)
                Foundation.exit(ExitStatus.done.rawValue)
            }
            refuseArguments(error)
            Foundation.exit(ExitStatus.usage.rawValue)
        }
    }

    /// Arguments that can't be parsed don't say how to log; whether JSON was wanted shows all the same.
    private static func refuseArguments(_ error: any Error) {
        let words = CommandLine.arguments
        let wantsJSON = words.contains("--log-format=json") || zip(words, words.dropFirst()).contains { $0 == "--log-format" && $1 == "json" }
        guard wantsJSON else { return writeError(fullMessage(for: error)) }
        StageContext.logger(stage, .json).error("\(message(for: error))", metadata: StageLog.metadata(["status": Int(ExitStatus.usage.rawValue)]))
    }

    private func execute() -> ExitStatus {
        if let parent = ProcessInfo.processInfo.environment[SiblingStages.dieWithParent].flatMap({ Int32($0) }), crux_die_with_parent(parent) != 0 {
            return .interrupted
        }
        Self.memoryHabit.adopt()
        let context = StageContext(stage: Self.stage, options: options)
        Interruption.listen()
        context.heartbeat.start(context)
        if options.tasks == .auto {
            let share = options.share
            context.say(
                share.isWhole ? "--tasks auto: no scheduler's variable names a task; this process does all of the work" : "task \(share.rank) of \(share.tasks)",
                ["rank": share.rank, "tasks": share.tasks])
        }
        do {
            let summary = try runStage(context)
            guard context.printSummary(summary) else {
                context.report(error: "the work is complete, but its summary could not be written to stdout", .outputFailure)
                return summary.status == .done ? .outputFailure : summary.status
            }
            return summary.status
        } catch {
            let (status, text) = Self.explain(error)
            context.report(error: text, status, Self.fields(error))
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

    /// What an error says, part by part.
    private static func fields(_ error: any Error) -> [String: any Sendable] {
        switch error {
        case let error as IOError: ["file": error.file, "action": error.action, "reason": error.reason]
        case let error as FormatError: error.logFields
        default: [:]
        }
    }
}
