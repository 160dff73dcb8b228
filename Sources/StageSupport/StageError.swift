import ArgumentParser
import Catalog
import Scratch

/// Exit codes that schedulers and Makefiles rely on.
package enum ExitStatus: Int32, Sendable {
    case done = 0
    case someShardsFailed = 1
    case usage = 2
    case invalidInput = 3
    case outputFailure = 4
    case otherConfiguration = 5
    /// An empty plan: no rollout is worth an optimizer step.
    case nothingToLearn = 6
    case interrupted = 75

    /// What an error ends a run with.
    package init(of error: any Error) {
        switch error {
        case let error as any ErrorWithStatus: self = error.status
        case is IOError: self = .outputFailure
        case let error as CatalogError where error.isOfTheSystem: self = .outputFailure
        case is ValidationError: self = .usage
        default: self = .invalidInput
        }
    }
}

/// An error that says what it ends a run with.
package protocol ErrorWithStatus: Error {
    var status: ExitStatus { get }
}

/// Ends a run whose error has been told already, here or by another process that works with this one.
package struct ToldAlready: ErrorWithStatus {
    package let status: ExitStatus

    package init(_ status: ExitStatus) { self.status = status }
}

/// A stage's own refusal: what to tell the user, and with which exit code.
package struct StageError: ErrorWithStatus, Sendable, CustomStringConvertible {
    package let status: ExitStatus
    package let description: String

    package init(_ status: ExitStatus, _ description: String) {
        self.status = status
        self.description = description
    }
}
