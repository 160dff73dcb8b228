import ArgumentParser
import Formats
import Foundation
import LearningCurves
import StageSupport

@main
enum ReportMain {
    static func main() { ReportCommand.runMain() }
}

/// Loops side by side: a table and a picture.
struct ReportCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "crux-report", abstract: "Puts finished loops side by side: a table (Markdown) and a picture (SVG).", version: cruxVersion)
    static let stage = "report"

    @Option(name: .long, parsing: .upToNextOption, help: "NAME=DIRECTORY of each loop; loops of the same name count as seeds of one recipe.")
    var loops: [String]

    @Option(help: "Files to make: OUTPUT.md and OUTPUT.svg.")
    var output: String

    @Option(help: "Title of the picture.")
    var title = "Learning curves"

    @OptionGroup var options: StageOptions

    func runStage(_ context: StageContext) throws -> StageSummary {
        let curves = try loops.map(curve)
        if options.dryRun { return StageSummary(["would_write": [output + ".md", output + ".svg"]]) }
        try AtomicFile.write(CurveTable.markdown(curves), to: output + ".md")
        try AtomicFile.write(CurvePicture.svg(title: title, curves), to: output + ".svg")
        context.say("\(curves.count) loops in \(output).md and \(output).svg")
        return StageSummary(["output": output, "loops": curves.count])
    }

    private func curve(_ text: String) throws -> LearningCurve {
        let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
        guard parts.count == 2 else { throw StageError(.usage, "--loops '\(text)': found no '=', expected NAME=DIRECTORY") }
        _ = try Manifest.finished(parts[1], stage: "loop")
        return LearningCurve(name: parts[0], rows: try ArrowTableReader(path: parts[1] + "/metrics.arrow", table: Tables.loop).rows())
    }
}
