import Files
import Foundation
import StageSupport

/// A job of this user's that hasn't ended, tasks of an array together.
package struct QueuedJob: Equatable, Sendable {
    package let number: Int
    package let name: String
    /// Of its tasks, in words: `PENDING (Resources), RUNNING`.
    package let states: String

    /// Lines of `NUMBER|STATE|REASON|NAME`.
    package static func parse(_ text: String) -> [QueuedJob] {
        let rows = text.split(separator: "\n").compactMap { line -> (number: Int, state: String, name: String)? in
            let parts = line.split(separator: "|", maxSplits: 3, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 4, let number = Int(parts[0]) else { return nil }
            return (number, parts[2] == "None" ? parts[1] : "\(parts[1]) (\(parts[2]))", parts[3])
        }
        return Dictionary(grouping: rows, by: \.number).map { number, rows in
            QueuedJob(
                number: number, name: rows[0].name, states: Set(rows.map(\.state)).sorted().joined(separator: ", "))
        }.sorted { $0.number < $1.number }
    }
}

/// Slurm, by its own commands.
package struct SlurmQueue: Sendable {
    package init() {}

    /// Jobs of this user's that wait or run.
    package func jobs() throws -> [QueuedJob] {
        let found = try SlurmProgram(
            "squeue", ["--noheader", "--user=\(geteuid())", "--format=%F|%T|%r|%j"])
        guard found.status == 0 else { throw Self.refusal("squeue", found) }
        return QueuedJob.parse(found.output)
    }

    /// Returns the job's number.
    package func submit(_ script: JobScript, after dependencies: [String] = [], members: [Int]? = nil) throws -> Int {
        let flags = Self.flags(after: dependencies, members: members)
        let found = try SlurmProgram("sbatch", flags + [script.path])
        // A cluster's name follows behind a semicolon where there are several.
        let number = found.output.split(whereSeparator: { $0 == ";" || $0.isWhitespace }).first.flatMap { Int($0) }
        guard found.status == 0, let number else {
            throw Self.refusal("sbatch \(ShellText.quoted(flags + [script.path]))", found)
        }
        return number
    }

    /// sbatch's, beside those of the script.
    package static func flags(after dependencies: [String], members: [Int]? = nil) -> [String] {
        ["--parsable"] + (dependencies.isEmpty ? [] : ["--dependency=" + dependencies.joined(separator: ",")])
            + (members.map { ["--array=" + $0.map { "\($0)" }.joined(separator: ",")] } ?? [])
    }

    private static func refusal(_ command: String, _ found: SlurmProgram) -> StageError {
        let said = (found.errors + found.output).trimmingCharacters(in: .whitespacesAndNewlines)
        return StageError(.outputFailure, "\(command) ended with \(found.status): \(said)")
    }
}
