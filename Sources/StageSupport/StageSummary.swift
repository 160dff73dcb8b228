/// What a run says on stdout when it is through.
package struct StageSummary {
    package var status = ExitStatus.done
    package var fields: [String: any Sendable] = [:]
    /// What stands there instead, of commands whose text is what was asked for.
    package var text: String?

    package init(status: ExitStatus = .done, _ fields: [String: any Sendable]) {
        self.status = status
        self.fields = fields
    }

    /// Of a process for which another one speaks.
    package static var silent: StageSummary {
        var summary = StageSummary([:])
        summary.text = ""
        return summary
    }
}
