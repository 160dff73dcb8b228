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

    package func jobs() throws -> [JobRow] { try table(Self.jobsName, Tables.jobs) }
    package func bases() throws -> [BaseRow] { try table(Self.basesName, Tables.bases) }

    /// Both, held against each other: what joins results relies on it.
    package func contents() throws -> (jobs: [JobRow], bases: [BaseRow]) {
        let (jobs, bases) = (try jobs(), try bases())
        // By bytes: ids that Unicode calls equivalent are two.
        var byID: [[UInt8]: BaseRow] = [:]
        for base in bases {
            guard byID.updateValue(base, forKey: Array(base.rollout.rolloutID.utf8)) == nil else {
                throw bad(Self.basesName, "base '\(base.rollout.rolloutID)'", "it twice", "each base once")
            }
        }
        for job in jobs { try check(job, byID[Array(job.baseRolloutID.utf8)]) }
        return (jobs, bases)
    }

    private func check(_ job: JobRow, _ base: BaseRow?) throws {
        func fail(_ found: String, _ expected: String) -> FormatError {
            bad(Self.jobsName, "job '\(job.jobID)'", found, expected)
        }
        guard let base else { throw fail("no base '\(job.baseRolloutID)' in \(Self.basesName)", "every job's base") }
        guard Int(job.stateIndex) < base.statePositions.count else {
            throw fail("state_index \(job.stateIndex)", "one of its base's \(base.statePositions.count) states")
        }
        let position = base.statePositions[Int(job.stateIndex)]
        guard job.anchorPosition == position else {
            throw fail("anchor_position \(job.anchorPosition)", "\(position), as its base has it")
        }
        guard Int(job.prefixLength) == Int(position) + job.injectedTokenIDs.count else {
            throw fail(
                "prefix_length \(job.prefixLength)",
                "\(Int(position) + job.injectedTokenIDs.count), anchor and injected tokens")
        }
    }

    private func bad(_ name: String, _ place: String, _ found: String, _ expected: String) -> FormatError {
        FormatError(
            file: path + "/" + name, place: place, found: found, expected: expected,
            remedy: "Plan again, with --overwrite.")
    }

    private func table<Row>(_ name: String, _ table: Table<Row>) throws -> [Row] {
        guard try fileStatus(path + "/" + name) != nil else {
            throw FormatError(
                file: path + "/" + name, place: "", found: "no such file",
                expected: "the jobs of a crux-plan directory",
                remedy: "Give the jobs folder that crux-plan made, such as run/plan/jobs.")
        }
        return try ArrowTableReader(path: path + "/" + name, table: table).rows()
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
