import Files
import Foundation
import StageSupport

/// A program of the system, run to its end.
struct ProgramRun {
    let status: Int32
    let output: String
    let errors: String

    /// Throws (4) where it can't be started.
    init(_ name: String, _ arguments: [String]) throws {
        let process = Process(), output = Pipe(), errors = Pipe()
        process.executableURL = URL(fileURLWithPath: try Self.find(name))
        process.arguments = arguments
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = errors
        do { try process.run() } catch {
            throw StageError(.outputFailure, "\(name): can't be started: \(error.localizedDescription)")
        }
        // One after the other: Slurm's programs say little on stderr, less than a pipe holds.
        self.output = Self.text(output)
        self.errors = Self.text(errors)
        process.waitUntilExit()
        status = process.terminationReason == .exit ? process.terminationStatus : 128 + process.terminationStatus
    }

    private static func text(_ pipe: Pipe) -> String {
        String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    }

    private static func find(_ name: String) throws -> String {
        let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
        let paths: [String] = folders.map { "\($0)/\(name)" }
        guard let path = paths.first(where: { access($0, X_OK) == 0 }) else {
            throw StageError(
                .outputFailure,
                "\(name): found no such program in PATH, expected Slurm's. Run this where jobs are submitted "
                    + "(on Debian: slurm-client)."
            )
        }
        return path
    }
}
