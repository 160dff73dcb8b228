import Arrow
import Formats
import Foundation
import TestSupport
import Testing

/// What crux-ingest made of files of other programs.
struct DumpReading {
    let result: Executable.Result
    /// Of all files, in their order; none where it failed.
    let rows: [RolloutRow]
    let rejected: [RejectedRow]
    var counts: [String: Int] { result.summary["counts"] as? [String: Int] ?? [:] }

    init(_ inputs: [String], _ more: [String] = [], to output: String) throws {
        result = try ingest.run(["--input"] + inputs + ["--output", output] + more)
        guard result.status == 0 else {
            (rows, rejected) = ([], [])
            return
        }
        rows = try inputs.indices.flatMap {
            try ArrowTableReader(path: output + "/rollouts-0000\($0).arrow", table: Tables.rollouts).rows()
        }
        rejected = try ArrowTableReader(path: output + "/rejected.arrow", table: Tables.rejected).rows()
    }

    func row(_ id: String) throws -> RolloutRow {
        try #require(rows.first { $0.rolloutID.utf8.elementsEqual(id.utf8) })
    }
}
