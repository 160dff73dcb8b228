import ArgumentParser
import Files
import Foundation
import LearningCurves
import RunViews
import StageSupport
import Tokenizer

/// Loops side by side: a table and a picture. Or the entropies of a scored dump: figures and token tables.
struct TablesCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "tables",
        abstract: "Puts finished loops side by side, or tells of a scored dump's entropies: the default.")
    static let stage = "report"

    @Option(
        name: .long, parsing: .upToNextOption,
        help:
            "NAME=DIRECTORY of each loop, NAME=DIRECTORY+DIRECTORY where a second one went on from the first; loops of the same name count as seeds of one recipe."
    )
    var loops: [String] = []

    @Option(help: "Directory of crux-score whose entropies to tell of; needs --input.")
    var scores: String?

    @Option(help: "Directory of crux-ingest that --scores belongs to.")
    var input: String?

    @Option(help: "Scores of the same rollouts by another policy, to compare with.")
    var against: String?

    @Option(help: "Checkpoint folder (or tokenizer.json): gives tokens their text.", transform: ModelFolder.path)
    var tokenizer: String?

    @Option(help: "Token tables hold tokens that occur more often than this.")
    var minimumCount = 100

    @Option(help: "Tokens of the highest and of the lowest entropy to list.")
    var tableRows = 100

    @Option(help: "Files to make: OUTPUT.md and OUTPUT.svg, or OUTPUT.json of entropies.")
    var output: String

    @Option(help: "Title of the picture.")
    var title = "Learning curves"

    @Flag(help: "Print every table and column of a run's files, as docs/files.md has them, and stop. Goes alone.")
    var files = false

    @OptionGroup var options: StageOptions

    func validate() throws {
        guard !files else { throw ValidationError("--files goes alone: crux-report --files") }
        guard loops.isEmpty != (scores == nil) else { throw ValidationError("Give --loops, or --scores with --input.") }
        guard (scores == nil) == (input == nil) else { throw ValidationError("--scores and --input go together.") }
    }

    func runStage(_ context: StageContext) throws -> StageSummary {
        guard options.share.rank == 0 else { return StageSummary(["output": output, "left_to_rank_0": true]) }
        guard let scores, let input else { return try reportLoops(context) }
        try requireApart([".md", ".json"], [input, scores] + [against].compactMap { $0 })
        for directory in [scores] + [against].compactMap({ $0 }) {
            _ = try RunView.manifests(
                input: input, scores: directory, remedyFlags: directory == scores ? "" : " --checkpoint DIR")
        }
        let report = EntropyReport(
            input: input, scores: scores, against: against, tokenizer: try tokenizer.map { try Tokenizer(path: $0) },
            minimumCount: minimumCount, tableRows: tableRows,
            context: context)
        if options.dryRun { return StageSummary(["would_write": [output + ".md", output + ".json"]]) }
        let tokens = try report.write(to: output)
        context.say("\(tokens) tokens in \(output).md and \(output).json")
        return StageSummary(["output": output, "tokens": tokens])
    }

    /// The files to make must not be a directory's own.
    private func requireApart(_ suffixes: [String], _ directories: [String]) throws {
        for suffix in suffixes {
            try Undertaking.requireApart(output + suffix, directories.map { InputPlace($0) }, options)
        }
    }

    private func reportLoops(_ context: StageContext) throws -> StageSummary {
        let curves = try loops.map(LoopCurves.curve)
        if options.dryRun { return StageSummary(["would_write": [output + ".md", output + ".svg"]]) }
        try AtomicFile.write(CurveTable.markdown(curves), to: output + ".md")
        try AtomicFile.write(CurvePicture.svg(title: title, curves), to: output + ".svg")
        context.say("\(curves.count) loops in \(output).md and \(output).svg")
        return StageSummary(["output": output, "loops": curves.count])
    }
}
