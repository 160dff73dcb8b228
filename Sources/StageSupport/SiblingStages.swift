import Formats
import Foundation
import Scratch

/// Runs other stages as processes of their own, as a shell would: they meet in files alone.
package struct SiblingStages: Sendable {
    /// Set for children, so that a killed parent leaves nobody behind who would write beside its successor.
    static let dieWithParent = "CRUX_DIE_WITH_PARENT"

    private let folder: String
    private let context: StageContext

    package init(_ context: StageContext) {
        let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
        folder = (own as NSString).deletingLastPathComponent
        self.context = context
    }

    /// Runs to the end; throws with the child's own status where that isn't 0.
    package func run(_ name: String, _ arguments: [String]) throws {
        try context.checkInterruption()
        let process = Process(), errors = Pipe()
        process.executableURL = URL(fileURLWithPath: folder + "/" + name)
        process.arguments = ["--quiet"] + arguments
        process.environment = ProcessInfo.processInfo.environment.merging([Self.dieWithParent: "\(getpid())"]) { $1 }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        process.standardError = errors
        do { try process.run() } catch {
            throw IOError(file: folder + "/" + name, action: "start it", reason: error.localizedDescription)
        }
        let said = errors.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        try check(process, name, arguments, String(decoding: said, as: UTF8.self))
    }

    private func check(_ process: Process, _ name: String, _ arguments: [String], _ said: String) throws {
        guard process.terminationReason == .exit else {
            throw StageError(.interrupted, "\(name) was ended by signal \(process.terminationStatus): run the same command again to go on")
        }
        guard process.terminationStatus != 0 else { return }
        let status = ExitStatus(rawValue: process.terminationStatus) ?? .invalidInput
        throw StageError(
            status, "\(name) \(arguments.joined(separator: " ")) failed with status \(process.terminationStatus): \(said.trimmingCharacters(in: .whitespacesAndNewlines))"
        )
    }
}
