import Files
import Foundation
import Scratch

/// Has other stages run, by the name and the arguments of their commands: they meet in files alone.
package protocol StageRunner: Sendable {
    /// Runs to the end; throws `StageError` with the stage's own status where that isn't 0.
    func run(_ name: String, _ arguments: [String]) throws
}

/// Runs other stages as processes of their own, as a shell would.
package struct SiblingStages: StageRunner {
    /// Set for children, so that a killed parent leaves nobody behind who would write beside its successor.
    static let dieWithParent = "CRUX_DIE_WITH_PARENT"

    private let context: StageContext

    /// Where this executable lies, and the stages' beside it.
    package static var folder: String {
        let own =
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
        return parentFolder(own)
    }

    package init(_ context: StageContext) { self.context = context }

    package func run(_ name: String, _ arguments: [String]) throws {
        try context.checkInterruption()
        let process = Process(), errors = Pipe(), folder = Self.folder
        process.executableURL = URL(fileURLWithPath: folder + "/" + name)
        process.arguments = ["--quiet"] + arguments
        process.environment = ProcessInfo.processInfo.environment.merging([Self.dieWithParent: "\(getpid())"]) { $1 }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        process.standardError = errors
        do { try process.run() } catch {
            throw IOError(file: folder + "/" + name, action: "start it", reason: error.localizedDescription)
        }
        let said = listen(to: errors.fileHandleForReading.fileDescriptor, process)
        process.waitUntilExit()
        try context.checkInterruption()
        try check(process, name, arguments, said)
    }

    /// Of what a child says on stderr its last words count.
    private static let keptBytes = 1 << 16

    /// Until it is through. A signal to this process is handed on, so that the child keeps what it has finished.
    private func listen(to descriptor: Int32, _ process: Process) -> String {
        var said: [UInt8] = [], piece = [UInt8](repeating: 0, count: 4096), isAsked = false
        while true {
            if Interruption.isRequested, !isAsked {
                process.terminate()
                isAsked = true
            }
            var wanted = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&wanted, 1, 200) > 0 else { continue }
            let count = read(descriptor, &piece, piece.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return String(decoding: said, as: UTF8.self) }
            said = Array((said + piece[..<count]).suffix(Self.keptBytes))
        }
    }

    private func check(_ process: Process, _ name: String, _ arguments: [String], _ said: String) throws {
        guard process.terminationReason == .exit else {
            throw StageError(
                .interrupted,
                "\(name) was ended by signal \(process.terminationStatus): run the same command again to go on")
        }
        guard process.terminationStatus != 0 else { return }
        let status = ExitStatus(rawValue: process.terminationStatus) ?? .invalidInput
        throw StageError(
            status,
            "\(name) \(arguments.joined(separator: " ")) failed with status \(process.terminationStatus): \(said.trimmingCharacters(in: .whitespacesAndNewlines))"
        )
    }
}
