import Files
import Foundation
import Logging

/// What a stage's work may ask of its surroundings.
package final class StageContext: Sendable {
    package let stage: String
    package let options: StageOptions
    package let threads: Int
    let heartbeat: Heartbeat
    private let logger: Logger

    package convenience init(stage: String, options: StageOptions) {
        self.init(stage, options, Heartbeat())
    }

    /// The same run with what has been found out meanwhile of threads and of who speaks.
    package func with(_ options: StageOptions) -> StageContext {
        if options.quiet { heartbeat.stop() }
        return StageContext(stage, options, heartbeat)
    }

    private init(_ stage: String, _ options: StageOptions, _ heartbeat: Heartbeat) {
        self.stage = stage
        self.options = options
        self.heartbeat = heartbeat
        threads = options.threadCount
        logger = Self.logger(stage, options.logFormat)
    }

    static func logger(_ stage: String, _ format: LogFormat) -> Logger {
        Logger(label: "crux-\(stage)") { label in StageLog(label: label, format: format) }
    }

    /// A line for the user, unless --quiet.
    package func say(_ text: String) { say(text, [:]) }

    package func warn(_ text: String) { warn(text, [:]) }

    /// `fields`: its numbers and names, which stand apart in `--log-format json`.
    package func say(_ text: String, _ fields: [String: any Sendable]) {
        if !options.quiet { logger.info("\(text)", metadata: StageLog.metadata(fields)) }
    }

    package func warn(_ text: String, _ fields: [String: any Sendable]) {
        if !options.quiet { logger.warning("\(text)", metadata: StageLog.metadata(fields)) }
    }

    package func report(error text: String, _ status: ExitStatus, _ fields: [String: any Sendable] = [:]) {
        logger.error("\(text)", metadata: StageLog.metadata(fields.merging(["status": Int(status.rawValue)]) { $1 }))
    }

    /// One piece of the work has failed; the others go on.
    func report(error: FormatError) { report(error: error.description, .someShardsFailed, error.logFields) }

    /// Whether it could be written.
    func printSummary(_ summary: StageSummary) -> Bool {
        if let text = summary.text { return StandardStreams.write(text, to: STDOUT_FILENO) }
        var object: [String: Any] = summary.fields
        object["stage"] = stage
        object["status"] = Int(summary.status.rawValue)
        guard
            let data = try? JSONSerialization.data(
                withJSONObject: object, options: [.sortedKeys, .withoutEscapingSlashes])
        else { return true }
        return StandardStreams.write(String(decoding: data, as: UTF8.self) + "\n", to: STDOUT_FILENO)
    }

    /// Throws when a signal has asked the run to stop. Call it between pieces of work, and while waiting for others.
    package func checkInterruption() throws {
        guard Interruption.isRequested else { return }
        throw StageError(.interrupted, "interrupted: finished pieces are kept; run the same command again to go on")
    }
}
