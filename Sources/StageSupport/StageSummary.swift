/// What a run says on stdout when it is through.
package struct StageSummary {
    package var status = ExitStatus.done
    package var fields: [String: any Sendable] = [:]

    package init(status: ExitStatus = .done, _ fields: [String: any Sendable]) {
        self.status = status
        self.fields = fields
    }
}
