@testable import Report

/// Everything of a run with wrong values, looked at.
final class ReportFuzz: FuzzTarget {
    static let name = "stage-report", subject = "crux-report's page, trace, show, forks and diff on changed runs"
    private let fuzzed: FuzzedRun

    init(folder: String) throws {
        fuzzed = try FuzzedRun(
            folder: folder, changing: ["ingest", "score", "plan", "plan-pairs", "update", "expansion"])
    }

    func run(_ bytes: UnsafeRawBufferPointer) throws {
        let (choice, rest) = bytes.choice
        let folder = fuzzed.folder, run = ["--input", folder + "/ingest"],
            scored = run + ["--scores", folder + "/score"], planned = scored + ["--plan", folder + "/plan"]
        try fuzzed.changed(by: rest) {
            switch choice % 5 {
            case 0:
                try runStage(
                    PageCommand.self,
                    planned + ["--update", folder + "/update", "--minimum-count", "1", "--output", fuzzed.output])
            case 1:
                try runStage(
                    TraceCommand.self,
                    ["r-1"] + planned + ["--update", folder + "/update", "--jobs", folder + "/expansion/jobs"])
            case 2: try runStage(ShowCommand.self, ["r-1"] + planned)
            case 3: try runStage(ForksCommand.self, planned + ["--minimum-count", "1"])
            default: try runStage(DiffCommand.self, [folder + "/plan", folder + "/plan-pairs"])
            }
        }
    }
}
