import Foundation
import Synchronization

/// Turns SIGTERM, SIGINT and SIGUSR1 (what batch systems send before the time limit) into a flag that stages look at between
/// pieces of work. A second signal ends the process at once: finished pieces are safe on disk at any moment.
package enum Interruption {
    private static let requested = Atomic<Bool>(false)

    package static var isRequested: Bool { requested.load(ordering: .relaxed) }

    /// Throws `StageError` with exit code 75 once a signal has come.
    package static func check() throws {
        if isRequested { throw StageError(.interrupted, "interrupted; finished pieces are kept, run the same command again to go on") }
    }

    static func install() {
        // The flag is made before any handler can run: making it takes a lock, which a signal handler must not.
        requested.store(false, ordering: .relaxed)
        for number in [SIGTERM, SIGINT, SIGUSR1] {
            signal(number) { _ in
                if Interruption.requested.exchange(true, ordering: .relaxed) { _exit(ExitStatus.interrupted.rawValue) }
            }
        }
        // A file that outgrows its limit shall be a failed write with a message, not a silent death.
        signal(SIGXFSZ, SIG_IGN)
    }
}
