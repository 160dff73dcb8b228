import CSystem
import Foundation

/// SIGTERM, SIGINT, SIGHUP and SIGUSR1 (Slurm's warning) ask for a stop at the next piece of work; a second one, or
/// four seconds, end the run at once, whatever it is waiting for. That is safe: nothing half-written carries a final
/// name.
///
/// Handlers of the kernel's own, not of a dispatch queue: those need a thread, which a run at its limit can't get.
enum Interruption {
    /// Outlives everything; a handler may touch nothing that has to be made first.
    fileprivate nonisolated(unsafe) static let requested: UnsafeMutablePointer<Int32> = {
        let flag = UnsafeMutablePointer<Int32>.allocate(capacity: 1)
        flag.initialize(to: 0)
        return flag
    }()

    static var isRequested: Bool { requested.pointee != 0 }

    static func listen() {
        _ = requested
        // A file that outgrows its limit shall be a failed write with a message, not a silent death.
        signal(SIGXFSZ, SIG_IGN)
        handle(SIGALRM) { _ in endAtOnce() }
        // `nohup` has asked for SIGHUP to be ignored.
        for number in [SIGTERM, SIGINT, SIGUSR1] + (crux_is_ignored(SIGHUP) != 0 ? [] : [SIGHUP]) {
            handle(number) { _ in
                if Interruption.requested.pointee != 0 { endAtOnce() }
                Interruption.requested.pointee = 1
                alarm(4)
            }
        }
    }

    /// System calls go on after the handler, but those that wait for an event.
    private static func handle(_ number: Int32, _ handler: @escaping @convention(c) (Int32) -> Void) {
        var action = sigaction()
        action.__sigaction_handler.sa_handler = handler
        action.sa_flags = SA_RESTART
        sigemptyset(&action.sa_mask)
        sigaction(number, &action, nil)
    }
}

/// From a signal handler: nothing but system calls. What the run has started goes with it (`SiblingStages`, reward
/// workers).
private func endAtOnce() {
    let text: StaticString = "interrupted: finished pieces are kept; run the same command again to go on\n"
    _ = write(STDERR_FILENO, text.utf8Start, text.utf8CodeUnitCount)
    _exit(75)
}
