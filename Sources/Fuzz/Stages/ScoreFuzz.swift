@testable import Score

/// Tables of crux-ingest with wrong values, and the dump that they point into.
final class ScoreFuzz: FuzzTarget {
    static let name = "stage-score", subject = "crux-score on changed tables of crux-ingest and another policy"
    private let fuzzed: FuzzedRun

    init(folder: String) throws { fuzzed = try FuzzedRun(folder: folder, changing: ["dump", "ingest", "policy"]) }

    func run(_ bytes: UnsafeRawBufferPointer) throws {
        let (choice, rest) = bytes.choice
        let more = [[], ["--top-k", "3"], ["--sum-p-squared"], ["--checkpoint", fuzzed.folder + "/policy"]][choice % 4]
        try fuzzed.changed(by: rest) {
            try runStage(
                ScoreCommand.self,
                ["--input", fuzzed.folder + "/ingest", "--output", fuzzed.output, "--reward", "auto"] + more)
        }
    }
}
