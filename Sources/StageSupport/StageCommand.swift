import ArgumentParser
import CMemoryLimits
import CSystem
import Files
import Formats
import Foundation
import Scratch

/// A stage: its flags, and load → transform → save in `runStage`. What all stages do alike — exit codes, one clear line
/// for an error, signals, the summary — happens here.
package protocol StageCommand: ParsableCommand {
    static var stage: String { get }
    var options: StageOptions { get }
    static var memoryHabit: MemoryHabit { get }
    /// Commands that go by a word in front of their arguments; a stage with subcommands would have no --help of its own.
    static var besides: [String: any StageCommand.Type] { get }
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

extension StageCommand {
    package static var memoryHabit: MemoryHabit { .returned }

    package static var besides: [String: any StageCommand.Type] { [:] }

    /// `main` of the executable.
    package static func runMain() -> Never {
        let arguments = Array(CommandLine.arguments.dropFirst())
        if let other = arguments.first.flatMap({ besides[$0] }) { other.runMain(Array(arguments.dropFirst())) }
        if !besides.isEmpty, arguments.contains(where: { $0.hasPrefix("--generate-completion-script") }) {
            CommandWithBesides<Self>.main(arguments)
            Self.exit()
        }
        runMain(arguments)
    }

    private static func runMain(_ arguments: [String]) -> Never { main(arguments) { ($0 as? Self)?.execute() } }

    fileprivate func execute() -> ExitStatus {
        if let parent = ProcessInfo.processInfo.environment[SiblingStages.dieWithParent].flatMap({ Int32($0) }),
            crux_die_with_parent(parent) != 0
        {
            return .interrupted
        }
        Self.memoryHabit.adopt()
        if options.logFormat == .json { crux_tell_refusals_as_json() }
        let context = StageContext(stage: Self.stage, options: options)
        Interruption.listen()
        context.heartbeat.start(context)
        defer { context.heartbeat.stop() }
        if options.tasks == .auto {
            let share = options.share
            context.say(
                share.isWhole
                    ? "--tasks auto: no scheduler's variable names a task; this process does all of the work"
                    : "task \(share.rank) of \(share.tasks)",
                ["rank": share.rank, "tasks": share.tasks])
        }
        do {
            let summary = try MappedFiles.reading { try runStage(context) }
            guard context.printSummary(summary) else {
                let reason = String(cString: strerror(errno))
                context.report(
                    error: "the work is complete, but its summary could not be written to stdout: \(reason)",
                    .outputFailure)
                return summary.status == .done ? .outputFailure : summary.status
            }
            return summary.status
        } catch {
            let status = ExitStatus(of: error)
            if !(error is ToldAlready) { context.report(error: "\(error)", status, Self.fields(error)) }
            return status
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

extension ParsableCommand {
    /// `main` of an executable whose subcommands are stages.
    package static func runSubcommands() -> Never { main { ($0 as? any StageCommand)?.execute() } }

    /// `main` of an executable that is no stage.
    package static func runPlainly() -> Never {
        main { command in
            guard var own = command as? Self else { return nil }
            do { try MappedFiles.reading { try own.run() } } catch {
                writeError("\(error)")
                return .outputFailure
            }
            return .done
        }
    }

    /// Parses the arguments and runs the command; nil from `run` says that it isn't this one, but --help and the like.
    /// `arguments`: nil is all of the process's.
    fileprivate static func main(
        _ arguments: [String]? = nil, _ run: (any ParsableCommand) -> ExitStatus?
    ) -> Never {
        StandardStreams.prepare()
        do {
            var command = try parseAsRoot(arguments)
            if let status = run(command) { Foundation.exit(status.rawValue) }
            try command.run()
            Foundation.exit(ExitStatus.done.rawValue)
        } catch {
            if exitCode(for: error) == .success {
                let isWritten = StandardStreams.write(message(for: error) + "\n", to: STDOUT_FILENO)
                Foundation.exit((isWritten ? ExitStatus.done : .outputFailure).rawValue)
            }
            refuseArguments(error)
            Foundation.exit(ExitStatus.usage.rawValue)
        }
    }

    /// Arguments that can't be parsed don't say how to log; whether JSON was wanted shows all the same.
    private static func refuseArguments(_ error: any Error) {
        let words = CommandLine.arguments
        let wantsJSON =
            words.contains("--log-format=json")
            || zip(words, words.dropFirst()).contains { $0 == "--log-format" && $1 == "json" }
        guard wantsJSON else { return writeError(fullMessage(for: error)) }
        let status = ["status": Int(ExitStatus.usage.rawValue)],
            name = configuration.commandName?.replacingOccurrences(of: "crux-", with: "") ?? ""
        StageContext.logger(name, .json).error("\(message(for: error))", metadata: StageLog.metadata(status))
    }
}

/// A command with those that go by a word, as shells complete them: by its own flags, and by the words.
private struct CommandWithBesides<Stage: StageCommand>: ParsableCommand {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: Stage.configuration.commandName, abstract: Stage.configuration.abstract,
            subcommands: Stage.besides.sorted { $0.key < $1.key }.map { $0.value.byWord })
    }

    @OptionGroup var stage: Stage
}

extension StageCommand {
    fileprivate static var byWord: any ParsableCommand.Type { CommandByWord<Self>.self }
}

/// A command by the last word of its name.
private struct CommandByWord<Stage: StageCommand>: ParsableCommand {
    static var configuration: CommandConfiguration {
        let name = Stage.configuration.commandName ?? Stage.stage
        return CommandConfiguration(
            commandName: name.split(separator: " ").last.map(String.init) ?? name,
            abstract: Stage.configuration.abstract)
    }

    @OptionGroup var stage: Stage
}
