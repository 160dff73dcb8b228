import ArgumentParser
import Files
import RunViews
import StageSupport
import Tokenizer

/// A run as one HTML file: how it hesitates, what a plan learns there, and what came of it.
struct PageCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "page",
        abstract: "Writes a page about a run: one HTML file that needs no network, for any browser.")
    static let stage = "report"

    @Option(help: "Directory of crux-ingest; after a join that of the joined results.")
    var input: String

    @Option(help: "Directory of crux-score that was made of --input.")
    var scores: String

    @Option(help: "Directory of crux-plan that was made of both.")
    var plan: String?

    @Option(help: "Another plan of the same scores, to compare --plan with.")
    var against: String?

    @Option(help: "Jobs folder of an expansion's first plan, whose results are in --input.")
    var jobs: String?

    @Option(help: "Directory of crux-update that was made of --plan.")
    var update: String?

    @Option(
        name: .long, parsing: .upToNextOption,
        help: "NAME=DIRECTORY of each loop to draw; loops of the same name count as seeds of one recipe.")
    var loops: [String] = []

    @Option(help: "Checkpoint folder (or tokenizer.json): gives tokens their text.", transform: ModelFolder.path)
    var tokenizer: String?

    @Option(help: "The HTML file to write.")
    var output: String

    @Option(help: "Title of the page.")
    var title = "Crux run"

    @Option(help: "Most rollouts that the page holds in full. Figures are always of all of them.")
    var pageRollouts = 2000

    @Option(help: "Most tokens that these rollouts have together; the page takes about 15 bytes for each.")
    var pageTokens = 1_000_000

    @Option(help: "Most bases of an expansion that the page shows with their continuations.")
    var pageBases = 100

    @Option(help: "The table of tokens holds those that occur more often than this.")
    var minimumCount = 100

    @OptionGroup var options: StageOptions

    func validate() throws {
        if against != nil, plan == nil { throw ValidationError("--against needs --plan, to compare with.") }
        for (flag, value) in [
            ("rollouts", pageRollouts), ("tokens", pageTokens), ("bases", pageBases),
        ] where value < 1 {
            throw ValidationError("--page-\(flag) is \(value); it must be at least 1.")
        }
    }

    func runStage(_ context: StageContext) throws -> StageSummary {
        guard options.share.rank == 0 else { return StageSummary(["output": output, "left_to_rank_0": true]) }
        try Undertaking.requireApart(output, directories.map { InputPlace($0) }, options)
        try PageFile(path: output).requireOwn(overwrite: options.overwrite)
        let sources = PageSources(
            run: try RunView(input: input, scores: scores, plans: [plan, against].compactMap { $0 }, context),
            jobs: jobs, update: update, curves: try loops.map(LoopCurves.curve),
            texts: TokenText(try tokenizer.map { try Tokenizer(path: $0) }))
        try sources.requireLineage(plan: plan)
        if options.dryRun { return StageSummary(["would_write": output]) }
        let limits = PageLimits(
            rollouts: pageRollouts, tokens: pageTokens, bases: pageBases, minimumCount: minimumCount)
        let content = try PageContent(title: title, sources, limits, threads: context.threads)
        let bytes = try PageFile(path: output).write(content, threads: context.threads)
        return summary(content, bytes, context)
    }

    private var directories: [String] { [input, scores] + [plan, against, jobs, update].compactMap { $0 } }

    private func summary(_ content: PageContent, _ bytes: Int, _ context: StageContext) -> StageSummary {
        let shown = content.overview.rollouts.count, all = content.overview.dump.rollouts
        context.say("\(output): figures of \(all) rollouts, \(shown) of them in full; \(bytes) bytes")
        return StageSummary(["output": output, "rollouts": all, "rollouts_in_full": shown, "bytes": bytes])
    }
}
