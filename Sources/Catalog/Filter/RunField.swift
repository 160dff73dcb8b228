/// A field that every run has.
package enum RunField: String, CaseIterable, Sendable {
    case id, path, stage, state, version, recipe, host, command, started, ended, seconds, tasks, attempts, status

    var column: String { "r." + rawValue }
}
