import ArgumentParser
import Formats

/// How a stage ends, as its exit code says.
package enum ExitStatus: Int32, Sendable {
    /// Also when nothing was left to do.
    case done = 0
    /// The rest is complete; running again retries the failed ones.
    case someShardsFailed = 1
    case usage = 2
    case invalidInput = 3
    case outputFailure = 4
    /// The output directory was made with another configuration or other inputs.
    case otherConfiguration = 5
    /// Run the same command again and it goes on.
    case interrupted = 75
}

/// A stage's own reason to stop, with the exit code it deserves. The message is one sentence or two: what is wrong, what to do.
package struct StageError: Error, Equatable, Sendable, CustomStringConvertible {
    package let status: ExitStatus
    package let message: String

    package init(_ status: ExitStatus, _ message: String) {
        self.status = status
        self.message = message
    }

    package var description: String { message }
}

extension ExitStatus {
    /// The exit code of an error from any room. What no room of ours throws comes from Foundation's file functions.
    init(of error: any Error) {
        switch error {
        case let error as StageError: self = error.status
        case is FormatError, is FrameError: self = .invalidInput
        case is IOError: self = .outputFailure
        case is ValidationError: self = .usage
        default: self = .invalidInput
        }
    }
}
