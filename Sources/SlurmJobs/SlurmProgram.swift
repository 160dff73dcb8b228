import Foundation
import StageSupport

/// One of Slurm's programs, run to its end.
struct SlurmProgram {
    /// As a shell gives it: 128 and the signal's number where it was ended by one.
    let status: Int32
    let output: String
    let errors: String

    /// Throws (4) where it can't be started.
    init(_ name: String, _ arguments: [String]) throws {
        let found = try ProgramRun(Self.find(name), arguments, output: .kept)
        (output, errors) = (found.output, found.errors)
        status =
            switch found.end {
            case .exited(let code): code
            case .signalled(let number): 128 + number
            }
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
