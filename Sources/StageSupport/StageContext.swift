import Formats
import Logging

/// What a running stage has around it: its share of the work, threads, and where notes go.
package struct StageContext: Sendable {
    package let stage: String
    package let options: StageOptions
    package let share: TaskShare
    package let log: Logger

    package var threads: Int { options.threads }

    package func progress(_ label: String, total: Int) -> ProgressLine {
        let isShown = Terminal.isInteractive && !options.quiet && options.logFormat == .text
        return ProgressLine(label: label, total: total, isShown: isShown)
    }

    /// Throws `StageError` with exit code 75 once a signal has asked the stage to stop.
    package func checkInterrupted() throws { try Interruption.check() }
}

/// What a stage says on stdout when it ends: one line of JSON with the stage's name, status and these fields.
package struct StageSummary: Sendable {
    package var status: ExitStatus
    package var fields: [String: JSONValue]

    package init(_ status: ExitStatus = .done, _ fields: [String: JSONValue] = [:]) {
        self.status = status
        self.fields = fields
    }

    func line(stage: String) -> String {
        let own: [String: JSONValue] = ["stage": .string(stage), "version": .string(CruxVersion.current), "exit_code": .integer(Int64(status.rawValue))]
        return JSONValue.object(fields.merging(own) { $1 }).encoded()
    }
}
