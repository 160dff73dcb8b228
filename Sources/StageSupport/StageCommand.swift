import ArgumentParser
import Formats
import Foundation
import Logging

/// A stage as a command. Conformers give flags and `runStage`; parsing, signals, errors, exit codes and the summary are here,
/// once for all stages.
package protocol StageCommand: ParsableCommand {
    /// The executable's name, such as `crux-ingest`.
    static var stageName: String { get }
    var options: StageOptions { get }
    /// Load, transform, save. Throws any error of the rooms below; the exit code follows from its type.
    func runStage(_ context: StageContext) throws -> StageSummary
}

extension StageCommand {
    package static func main() {
        Interruption.install()
        let command = parseOrExit()
        do {
            let summary = try command.runStage(command.context())
            print(summary.line(stage: stageName))
            exit(summary.status)
        } catch {
            report(error, format: command.options.logFormat)
            exit(ExitStatus(of: error))
        }
    }

    private static func parseOrExit() -> Self {
        do {
            var parsed = try parseAsRoot()
            if let command = parsed as? Self { return command }
            try parsed.run()    // --help and the like
        } catch {
            guard exitCode(for: error).isSuccess else {
                try? FileHandle.standardError.write(contentsOf: Data((fullMessage(for: error) + "\n").utf8))
                exit(ExitStatus.usage)
            }
            print(fullMessage(for: error))
        }
        exit(ExitStatus.done)
    }

    private func context() throws -> StageContext {
        let share = try TaskShare.resolve(tasks: options.tasks, rank: options.rank, environment: ProcessInfo.processInfo.environment)
        let level: Logger.Level = options.quiet ? .warning : .info
        let handler = StageLogHandler(stage: Self.stageName, format: options.logFormat, logLevel: level)
        return StageContext(stage: Self.stageName, options: options, share: share, log: Logger(label: Self.stageName) { _ in handler })
    }

    private static func report(_ error: any Error, format: LogFormat) {
        let handler = StageLogHandler(stage: stageName, format: format, logLevel: .error)
        Logger(label: stageName) { _ in handler }.error("\(String(describing: error))")
    }

    private static func exit(_ status: ExitStatus) -> Never {
        fflush(nil)
        Foundation.exit(status.rawValue)
    }
}
