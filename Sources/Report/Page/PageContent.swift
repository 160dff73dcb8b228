import Credit
import Formats
import Foundation
import RunViews
import StageSupport

/// What a page holds: an overview that is there at once, and blocks of rollouts in full.
struct PageContent {
    /// A word of a table with what it means, and how often it occurs.
    struct CountedWord: Encodable {
        let word: String
        let meaning: String
        let count: Int
    }

    struct Plan: Encodable {
        let name: String
        let directory: String
        let recipe: String
        let tally: PlanTally
        let dropped: [CountedWord]
        /// Lowest entropy that a step keeps and highest that it leaves out, least and most over the steps that leave
        /// tokens out; empty where none does.
        let cuts: [PlanTally.Cut]
    }

    struct Overview: Encodable {
        let title: String
        let version: String
        /// What the page was made of, as it was named.
        let sources: [String: String]
        let dump: DumpTally
        let rejected: [CountedWord]
        let verdicts: [CountedWord]
        let quantiles: EntropyQuantiles?
        /// Edges of the bins of entropies, and the width of the histogram's; nats.
        let edges: [Double]
        let entropyStep: Double
        let plans: [Plan]
        let comparison: PlanComparisonTally?
        let forks: PageForks
        let rollouts: [RolloutSummary]
        let limits: [String: Int]
        let expansion: PageExpansion?
        let training: [PagePanel]
        let loops: [PagePanel]
        /// Whether log-probabilities of the trainer's own were held against the sampler's.
        let isTrainerKnown: Bool
        /// Whether tokens have texts, or ids alone.
        let knowsTexts: Bool
        /// By id, of every token that the page shows.
        let texts: [String: String]
    }

    let overview: Overview
    let blocks: [[RolloutDetail]]

    init(title: String, _ sources: PageSources, _ limits: PageLimits, threads: Int) throws {
        let run = sources.run, figures = try RunFigures(run, sampleLimit: limits.rollouts, threads: threads)
        let rollouts = try PageRollouts(run, rows: figures.sample.rows(tokens: limits.tokens))
        let forks = try PageForks(run, figures.tokens, minimumCount: limits.minimumCount)
        let expansion = try sources.jobs.map { try PageExpansion(run, JobDirectory($0), limits) }
        let tokens = rollouts.tokens.union(forks.tokens).union(expansion?.tokens ?? [])
        let verdicts = figures.dump.sources.values.reduce(into: [:]) { $0.merge($1.verdicts, uniquingKeysWith: +) }
        blocks = rollouts.blocks
        overview = Overview(
            title: title, version: cruxVersion, sources: Self.names(sources), dump: figures.dump,
            rejected: Self.rejected(run.ingest),
            verdicts: Self.counted(verdicts) { Verdict(rawValue: $0)?.documentation },
            quantiles: figures.quantiles, edges: EntropyBins.edges, entropyStep: EntropySteps.width,
            plans: zip(run.plans, figures.plans).map(Self.plan), comparison: figures.comparison, forks: forks,
            rollouts: rollouts.summaries,
            limits: ["rollouts": limits.rollouts, "tokens": limits.tokens], expansion: expansion,
            training: try sources.update.map {
                try PageTraining.panels(update: $0, try Manifest.finished($0, stage: "update"))
            } ?? [],
            loops: PageTraining.panels(sources.curves),
            isTrainerKnown: run.trainer.areKnown(
                tokens: figures.dump.samplerDifference.count, largest: Double(figures.dump.largestSamplerDifference)),
            knowsTexts: sources.texts.knowsTexts,
            texts: Dictionary(uniqueKeysWithValues: tokens.map { ("\($0)", sources.texts.text($0)) }))
    }

    private static func names(_ sources: PageSources) -> [String: String] {
        let plans = zip(["plan", "against"], sources.run.plans.map(\.directory)).map { ($0, $1 as String?) }
        let named =
            [("input", sources.run.input), ("scores", sources.run.scores), ("jobs", sources.jobs)] + plans + [
                ("update", sources.update)
            ]
        return Dictionary(uniqueKeysWithValues: named.compactMap { name, path in path.map { (name, $0) } })
    }

    private static func plan(_ view: PlanView, _ tally: PlanTally) -> Plan {
        Plan(
            name: recipeName(view) ?? (view.directory as NSString).lastPathComponent, directory: view.directory,
            recipe: view.recipe, tally: tally,
            dropped: counted(tally.dropped) { dropMeanings[$0] ?? Verdict(rawValue: $0)?.documentation },
            cuts: tally.cuts.filter { $0.value.kept > 0 && $0.value.left > 0 }.sorted { $0.key < $1.key }
                .map(\.value))
    }

    private static func recipeName(_ view: PlanView) -> String? {
        let recipe = try? JSONSerialization.jsonObject(with: Data(view.recipe.utf8)) as? [String: Any]
        return recipe?["name"] as? String
    }

    private static let dropMeanings = Dictionary(
        DropReason.all.map { ($0.name, $0.meaning) }, uniquingKeysWith: { first, _ in first })

    private static func rejected(_ ingest: Manifest) -> [CountedWord] {
        let prefix = "rejected_"
        let counts = ingest.counts.filter { $0.key.hasPrefix(prefix) }
            .map { (String($0.key.dropFirst(prefix.count)), $0.value) }
        return counted(Dictionary(uniqueKeysWithValues: counts)) { RejectReason(rawValue: $0)?.documentation }
    }

    /// The most frequent first.
    private static func counted(_ counts: [String: Int], meaning: (String) -> String?) -> [CountedWord] {
        counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map {
            CountedWord(word: $0.key, meaning: meaning($0.key) ?? "", count: $0.value)
        }
    }
}
