import Foundation

/// Makes a call of the system again until no signal interrupts it. For those that return -1 and leave the reason in
/// `errno`, and that do nothing where they are interrupted: not for `close`, which has closed all the same.
@discardableResult
package func uninterrupted<Result: SignedInteger>(_ call: () -> Result) -> Result {
    while true {
        let result = call()
        guard result == -1, errno == EINTR else { return result }
    }
}
