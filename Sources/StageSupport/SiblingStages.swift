import Files
import Foundation

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

    /// A signal to this process is handed on, so that the child keeps what it has finished.
    package func run(_ name: String, _ arguments: [String]) throws {
        try context.checkInterruption()
        let found = try ProgramRun(
            Self.folder + "/" + name, ["--quiet"] + arguments,
            environment: ProcessInfo.processInfo.environment.merging([Self.dieWithParent: "\(getpid())"]) { $1 },
            isWanted: { !Interruption.isRequested })
        try context.checkInterruption()
        try check(found, name, arguments)
    }

    private func check(_ found: ProgramRun, _ name: String, _ arguments: [String]) throws {
        switch found.end {
        case .exited(0): return
        case .exited(let code):
            let said = found.errors.trimmingCharacters(in: .whitespacesAndNewlines)
            // Codes that no stage has are the system's: 127 where a library could not be loaded.
            throw StageError(
                ExitStatus(rawValue: code) ?? .outputFailure,
                "\(name) \(arguments.joined(separator: " ")) failed with status \(code): \(said)")
        case .signalled(let number):
            throw StageError(
                .interrupted, "\(name) was ended by signal \(number): run the same command again to go on")
        }
    }
}
