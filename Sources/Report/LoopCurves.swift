import Arrow
import Formats
import LearningCurves
import StageSupport

/// Loops as flags name them.
enum LoopCurves {
    /// `text`: NAME=DIRECTORY, or NAME=DIRECTORY+DIRECTORY where a second loop went on from the first.
    static func curve(_ text: String) throws -> LearningCurve {
        let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
        guard parts.count == 2 else {
            throw StageError(.usage, "--loops '\(text)': found no '=', expected NAME=DIRECTORY")
        }
        return LearningCurve(name: parts[0], legs: try parts[1].split(separator: "+").map { try leg(String($0)) })
    }

    private static func leg(_ directory: String) throws -> [LoopRow] {
        _ = try Manifest.finished(directory, stage: "loop")
        return try ArrowTableReader(path: directory + "/metrics.arrow", table: Tables.loop).rows()
    }
}
