import ArgumentParser
import Files
import Foundation
import RunViews
import StageSupport
import Tokenizer

/// The table of tokens by mean entropy, with places where they stand.
struct ForksCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "forks",
        abstract: "Lists tokens by their mean entropy: where the policy hesitates, how often, and in which contexts.")
    static let stage = "report"

    @Option(help: "Directory of crux-ingest.")
    var input: String

    @Option(help: "Directory of crux-score that was made of --input.")
    var scores: String

    @Option(help: "Directory of crux-plan that was made of both: tells how often it keeps a token.")
    var plan: String?

    @Option(
        help: "Checkpoint folder (or tokenizer.json): gives tokens their text; else their ids are shown.",
        transform: ModelFolder.path)
    var tokenizer: String?

    @Option(help: "The table holds tokens that occur more often than this.")
    var minimumCount = 100

    @Option(help: "Tokens to print; the files of --output hold all.")
    var rows = 30

    @Option(help: "Contexts of each token.")
    var contexts = 2

    @Flag(help: "Begin with the lowest mean entropy.")
    var lowest = false

    @Option(help: "Files to make: OUTPUT.md and OUTPUT.csv.")
    var output: String?

    @OptionGroup var reading: ReadingOptions
    @OptionGroup var options: StageOptions

    func validate() throws {
        for (name, value) in [("--minimum-count", minimumCount), ("--rows", rows), ("--contexts", contexts)]
        where value < 0 { throw ValidationError("\(name) is \(value); it must be at least 0.") }
    }

    func runStage(_ context: StageContext) throws -> StageSummary {
        guard options.share.rank == 0 else { return StageSummary(["left_to_rank_0": true]) }
        try requireApart(output, [input, scores] + [plan].compactMap { $0 }, options)
        let run = try RunView(input: input, scores: scores, plans: [plan].compactMap { $0 }, context)
        let texts = TokenText(try tokenizer.map { try Tokenizer(path: $0) })
        let tally = try run.tally(TokenTally(), threads: context.threads) { _ in try context.checkInterruption() }
        let forks = try PageForks(run, tally, minimumCount: minimumCount)
        guard forks.distinct > 0 else {
            throw StageError(
                .invalidInput,
                "\(scores): found no entropies, expected them. Dump logits, or score with --checkpoint DIR.")
        }
        let table = table(lowest ? forks.entries.reversed() : forks.entries, texts)
        if let output, !options.dryRun { try ReportFile.write(table.files(output), options) }
        return reading.summary(text(forks, table), fields(forks))
    }

    private func table(_ entries: [PageForks.Entry], _ texts: TokenText) -> TextTable {
        var table = TextTable(
            ["token", "id", "mean entropy (nats)", "count", "right", "wrong"] + (plan == nil ? [] : ["kept"])
                + (contexts == 0 ? [] : ["contexts"]))
        for entry in entries {
            let kept: [TextTable.Cell] = plan == nil ? [] : [.count(entry.kept)]
            let places = entry.contexts.prefix(contexts).map { self.context($0, entry.token, texts) }
            table.add(
                [
                    .text(texts.text(entry.token)), .count(Int(entry.token)), .number(entry.mean), .count(entry.count),
                    .count(entry.right), .count(entry.wrong),
                ] + kept + (contexts == 0 ? [] : [.text(places.joined(separator: "   "))]))
        }
        return table
    }

    /// Tokens before and behind that are enough to know a place by.
    private static let contextTokens = 6

    private func context(_ place: PageForks.Context, _ token: Int32, _ texts: TokenText) -> String {
        let before = place.before.suffix(Self.contextTokens).map(texts.text).joined(),
            after = place.after.prefix(Self.contextTokens).map(texts.text).joined()
        return "…\(before)⟪\(texts.text(token))⟫\(after)…"
    }

    private func text(_ forks: PageForks, _ table: TextTable) -> String {
        let order = lowest ? "lowest" : "highest", shown = min(rows, forks.entries.count)
        let hint = forks.entries.isEmpty ? "Give a smaller --minimum-count.\n" : ""
        let files = output.map { "All of them are in \($0).md and \($0).csv.\n" } ?? ""
        return "\(forks.entries.count) of \(forks.distinct) tokens occur more than \(minimumCount) times; "
            + "\(shown) of the \(order) mean entropy"
            + (forks.entries.count > 2 * forks.withContexts
                ? ", contexts of the \(forks.withContexts) at either end" : "") + ":\n"
            + hint + "\n" + table.prefix(rows).aligned + files
    }

    private func fields(_ forks: PageForks) -> [String: any Sendable] {
        let entries = (lowest ? forks.entries.reversed() : forks.entries).prefix(rows).map { entry in
            [
                "token_id": Int(entry.token), "mean_entropy": entry.mean, "count": entry.count, "right": entry.right,
                "wrong": entry.wrong, "kept": entry.kept,
            ] as [String: any Sendable]
        }
        return [
            "output": output ?? "", "distinct": forks.distinct, "listed": forks.entries.count, "tokens": Array(entries),
        ]
    }
}

/// The files to make must not be a directory's own.
func requireApart(_ output: String?, _ directories: [String], _ options: StageOptions) throws {
    guard let output else { return }
    for suffix in TextTable.suffixes {
        try Undertaking.requireApart(output + suffix, directories.map { InputPlace($0) }, options)
    }
}
