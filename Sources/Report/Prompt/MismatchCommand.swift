import ArgumentParser
import Files
import Foundation
import RunViews
import Scratch
import StageSupport
import Tokenizer

/// Where the trainer's log-probabilities part from the sampler's, and a run's numbers from those that a trainer wrote.
struct MismatchCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "mismatch",
        abstract:
            "Tells where trainer and sampler part: by token, place, policy version, temperature; and which number differs first from what a trainer wrote."
    )
    static let stage = "report"

    @Option(help: "Directory of crux-ingest.")
    var input: String

    @Option(help: "Directory of crux-score, made with --checkpoint: its old_logprobs are the trainer's.")
    var scores: String

    @Option(help: "Directory of crux-plan that was made of both: its advantages are held against the trainer's.")
    var plan: String?

    @Option(
        parsing: .upToNextOption,
        help: "What a trainer wrote of the same rollouts: files or folders of prime-rl's token exports.")
    var trainer: [String] = []

    @Option(help: "Differences from the trainer's numbers up to this count as none.")
    var tolerance = 0.01

    @Option(help: "Checkpoint folder (or tokenizer.json): gives tokens their text.", transform: ModelFolder.path)
    var tokenizer: String?

    @Option(help: "The table of tokens holds those that occur more often than this.")
    var minimumCount = 20

    @Option(help: "Tokens to print; the files of --output hold all.")
    var rows = 15

    @Option(help: "Files to make: OUTPUT.md, OUTPUT.csv and the picture OUTPUT.svg.")
    var output: String?

    @OptionGroup var reading: ReadingOptions
    @OptionGroup var options: StageOptions

    func validate() throws {
        guard tolerance >= 0, tolerance.isFinite else {
            throw ValidationError("--tolerance is \(tolerance); it must be at least 0.")
        }
        for (name, value) in [("--minimum-count", minimumCount), ("--rows", rows)] where value < 0 {
            throw ValidationError("\(name) is \(value); it must be at least 0.")
        }
    }

    func runStage(_ context: StageContext) throws -> StageSummary {
        guard options.share.rank == 0 else { return StageSummary(["left_to_rank_0": true]) }
        try requireApart(output, [input, scores] + [plan].compactMap { $0 }, options)
        let run = try RunView(input: input, scores: scores, plans: [plan].compactMap { $0 }, context)
        let texts = TokenText(try tokenizer.map { try Tokenizer(path: $0) })
        let tally = try run.tally(MismatchTally(), threads: context.threads) { _ in try context.checkInterruption() }
        let report = MismatchReport(
            tally: tally, comparison: try compare(run, context),
            isTrainerKnown: TrainerLogprobs(run.score).areKnown(tokens: tally.all.tokens, largest: tally.all.largest),
            texts: texts, minimumCount: minimumCount)
        guard report.isTrainerKnown || !trainer.isEmpty else {
            throw StageError(
                .invalidInput,
                "\(scores): found old_logprobs that are the sampler's own, expected the trainer's. "
                    + "Score with --checkpoint DIR, the policy to be trained, or give --trainer, what a trainer wrote.")
        }
        if let output, !options.dryRun { try ReportFile.write(report.files(output), options) }
        return reading.summary(report.text(rows: rows, output: output), report.fields)
    }

    /// nil where no trainer's numbers were given.
    private func compare(_ run: RunView, _ context: StageContext) throws -> TrainerComparison? {
        guard !trainer.isEmpty else { return nil }
        let files = try TrainerFiles.find(trainer)
        var names = try StringInterner(.temporary)
        try run.forEachRollout { _ = try names.number(of: $0.rollout.rolloutID) }
        let index = try names.finishIndex()
        var comparison = TrainerComparison(tolerance: tolerance)
        for file in files {
            try forEachLine(of: file) { number, data in
                try context.checkInterruption()
                try comparison.add(TrainerLine(data, file: file, line: number)) {
                    // Names are unique in a dump, so their numbers are those of the rows.
                    try index.number(of: $0).map { try run.rollout($0) }
                }
            }
        }
        return comparison
    }
}
