import ArgumentParser
import Credit
import Formats
import Foundation
import Recipes
import StageSupport

@main
enum PlanMain {
    static func main() { PlanCommand.runMain() }
}

/// `ingest/` and `score/` under a recipe → `plan/`: per-token advantages, masks and weights, and what was left out and why.
struct PlanCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "crux-plan", abstract: "Decides what to learn from: advantages, masks, weights, optimizer steps.", version: cruxVersion)
    static let stage = "plan"

    @Option(help: "Directory of crux-ingest.")
    var input: String

    @Option(help: "Directory of crux-score.")
    var scores: String

    @Option(help: "Recipe (YAML).")
    var recipe: String

    @Option(help: "Directory to make.")
    var output: String

    @OptionGroup var options: StageOptions

    func runStage(_ context: StageContext) throws -> StageSummary {
        let recipe = try loadRecipe()
        let resolved = try recipe.resolvedJSON()
        let ingest = try Manifest.finished(input, stage: "ingest"), score = try Manifest.finished(scores, stage: "score")
        if options.dryRun { return StageSummary(["would_write": output, "recipe": resolved]) }
        // One task does the whole plan: group statistics and thresholds span the dump.
        guard options.share.rank == 0 else { return StageSummary(["output": output, "left_to_rank_0": true]) }
        let plan = Manifest(
            stage: Self.stage, configuration: ["recipe": SHA256Digest.of(resolved), "seed": "\(options.seed)"],
            inputs: [try Manifest.asInput(input), try Manifest.asInput(scores)])
        switch try StageDirectory.open(output, for: plan, overwrite: options.overwrite) {
        case .done(let manifest):
            context.say("\(output) is finished already; nothing to do")
            return StageSummary(["output": output, "counts": manifest.counts, "already_done": true])
        case .work(let directory):
            let rollouts = try ScoredRollouts(ingest: input, ingest, scores: scores, score)
            return try PlanRun(directory: directory, recipe: recipe, resolved: resolved, rollouts: rollouts, context: context).run()
        }
    }

    private func loadRecipe() throws -> Recipe {
        do { return try Recipe.load(path: recipe) } catch let error as RecipeError { throw StageError(.invalidInput, error.description) }
    }
}

/// The rows of ingest with those of score beside them.
struct ScoredRollouts {
    private(set) var rows: [(rollout: RolloutRow, score: ScoreRow)] = []
    let directory: String
    /// Width of the dump's logits, where it has any and they agree.
    let vocabulary: Int?

    init(ingest: String, _ ingestManifest: Manifest, scores: String, _ scoreManifest: Manifest) throws {
        directory = scores
        vocabulary = ingestManifest.counts["vocabulary"]
        let names = ingestManifest.outputs.map(\.path).filter { $0.hasPrefix("rollouts-") }
        for name in names {
            let scoreName = "scores-" + name.dropFirst("rollouts-".count)
            let rollouts = try ArrowTableReader(path: ingest + "/" + name, table: Tables.rollouts).rows()
            let marks = try ArrowTableReader(path: scores + "/" + scoreName, table: Tables.scores).rows()
            guard rollouts.count == marks.count, zip(rollouts, marks).allSatisfy({ $0.rolloutID == $1.rolloutID }) else {
                throw FormatError(
                    file: scores + "/" + scoreName, place: "", found: "\(marks.count) rows that are not those of \(name)",
                    expected: "its \(rollouts.count) rows in the same order", remedy: "Score this ingest directory.")
            }
            rows += zip(rollouts, marks).map { ($0, $1) }
        }
    }
}
