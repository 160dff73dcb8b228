import Foundation

@testable import Runs

/// Manifests, run records and tables with wrong values, as crux-runs reads them.
final class RunsFuzz: FuzzTarget {
    static let name = "stage-runs", subject = "crux-runs scan and lineage on changed runs"
    private let fuzzed: FuzzedRun

    init(folder: String) throws {
        fuzzed = try FuzzedRun(folder: folder, changing: ["ingest", "score", "plan", "update", "expansion"])
    }

    func run(_ bytes: UnsafeRawBufferPointer) throws {
        let catalog = ["--catalog", fuzzed.folder + "/crux.sqlite"]
        defer {
            for ending in ["", "-wal", "-shm"] { unlink(fuzzed.folder + "/crux.sqlite" + ending) }
        }
        try fuzzed.changed(by: bytes) {
            try runStage(ScanCommand.self, [fuzzed.folder] + catalog)
            try runStage(LineageCommand.self, [fuzzed.folder + "/update"] + catalog)
        }
    }
}
