import Arrow
import Files
import Foundation

/// `plan/jobs/`: request lines for engines, and the sidecar tables that join their results.
package struct JobDirectory: Sendable {
    package let path: String
    package static let jobsName = "jobs.arrow"
    package static let basesName = "bases.arrow"
    /// Limits of the OpenAI batch format, which other hosts share.
    package static let linesPerFile = 50_000
    package static let bytesPerFile = 200_000_000

    package init(_ path: String) { self.path = path }

    /// Where the table of jobs says which round of branching they are.
    package static let roundKey = "crux.round"

    /// The round of branching that these jobs are; the first is 1.
    package func round() throws -> Int {
        guard let word = try table(Self.jobsName, Tables.jobs).metadata[Self.roundKey] else { return 1 }
        guard let round = Int(word), round > 0 else {
            throw bad(Self.jobsName, "metadata \(Self.roundKey)", "'\(word)'", "the number of a round, from 1")
        }
        return round
    }

    package func jobs() throws -> [JobRow] { try table(Self.jobsName, Tables.jobs).rows() }
    package func bases() throws -> [BaseRow] { try table(Self.basesName, Tables.bases).rows() }

    func bad(_ name: String, _ place: String, _ found: String, _ expected: String) -> FormatError {
        FormatError(
            file: path + "/" + name, place: place, found: found, expected: expected,
            remedy: "Plan again, with --overwrite.")
    }

    /// A table of the folder, to be read where it lies.
    func table<Row>(_ name: String, _ table: Table<Row>) throws -> ArrowTableReader<Row> {
        guard try fileStatus(path + "/" + name) != nil else {
            throw FormatError(
                file: path + "/" + name, place: "", found: "no such file",
                expected: "the jobs of a crux-plan directory",
                remedy: "Give the jobs folder that crux-plan made, such as run/plan/jobs.")
        }
        return try ArrowTableReader(path: path + "/" + name, table: table)
    }

    /// Files of request lines, in order.
    package func lineFiles() throws -> [String] {
        try Folder.names(path).filter { $0.hasPrefix("jobs-") && $0.hasSuffix(".jsonl") }.map { path + "/" + $0 }
    }

    package static func linesName(_ index: Int) -> String { String(format: "jobs-%05d.jsonl", index) }
}

/// SHA-256 of token ids as little-endian int32: what identifies a prefix.
package func prefixDigest(_ ids: some Collection<Int32>) -> String {
    ids.map(\.littleEndian).withUnsafeBytes { SHA256Digest.of($0) }
}
