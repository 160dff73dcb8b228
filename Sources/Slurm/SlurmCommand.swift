import ArgumentParser
import Files
import Foundation
import Recipes
import SlurmJobs
import StageSupport

@main
enum SlurmMain {
    static func main() { SlurmCommand.runMain() }
}

/// A dump, or prompts → scripts of Slurm's jobs, submitted in their order: (rollout →) ingest → score → plan →
/// update.
struct SlurmCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "crux-slurm",
        abstract: "Submits the stages of a run as Slurm's jobs, and a run that stopped once more.",
        version: cruxVersion)
    static let stage = "slurm"

    @Option(parsing: .upToNextOption, help: "Dump, as crux-ingest takes it.")
    var input: [String] = []

    @Option(help: "Prompts to sample rollouts for with --checkpoint, instead of --input.")
    var prompts: String?

    @Option(help: "Hugging Face checkpoint to update (and to sample from).")
    var checkpoint: String?

    @Option(help: "Recipe (YAML); each one more is a member of the sweep. Without any, the run ends with its scores.")
    var recipe: [String] = []

    @Option(help: "Change a key of the recipes, such as optimizer.lr=1e-5; may be repeated.")
    var set: [String] = []

    @Option(help: "Folder of the run: rollout/, ingest/, score/, of each recipe NAME/plan/ and NAME/update/; slurm/.")
    var output: String

    @Option(help: "Last stage to submit: ingest, score, plan or update.")
    var until: PipelineStage?

    @Option(
        parsing: .unconditionalSingleValue,
        help: "STAGE='FLAGS': more of a stage's own flags, in quotes as for a shell; may be repeated.")
    var flags: [StageValue] = []

    @Flag(help: "Submit finished stages too: they see whether their inputs are still what they were.")
    var resubmit = false

    @OptionGroup var jobs: SlurmOptions
    @OptionGroup var options: StageOptions

    func validate() throws {
        guard input.isEmpty != (prompts == nil) else { throw ValidationError("Give either --input or --prompts.") }
        if prompts != nil, checkpoint == nil { throw ValidationError("--prompts needs --checkpoint to sample from.") }
        if let loose = flags.first(where: { $0.stage == nil }) {
            throw ValidationError(
                "--flags: found '\(loose.value)', expected \(Self.stages.map { $0 + "=FLAGS" }.joined(separator: ", "))."
            )
        }
        if options.overwrite {
            throw ValidationError(
                "--overwrite would have a job that is queued again begin anew: choose another --output, or remove it.")
        }
        if options.tasks != nil { throw ValidationError("--tasks: give --array N, the tasks that share a stage.") }
        if until == .update || until == nil, !recipe.isEmpty, checkpoint == nil {
            throw ValidationError("An update needs --checkpoint; --until plan ends before it.")
        }
        if let until, [.plan, .update].contains(until), recipe.isEmpty {
            throw ValidationError("--until \(until.rawValue) needs --recipe.")
        }
    }

    private static let stages = PipelineStage.allCases.map(\.rawValue)

    func runStage(_ context: StageContext) throws -> StageSummary {
        let chain = try chain()
        try InputCheck(self).run()
        try FlagCheck(self).run(context)
        let submission = try ChainSubmission(chain, self, context)
        return try options.dryRun ? submission.write() : submission.submit()
    }

    private func chain() throws -> Chain {
        let recipes = try SweptRecipe.load(recipe, set: set)
        // How many rounds there are to sample is known only when the one before has come back.
        for swept in recipes {
            guard let rounds = swept.recipe.credit.expansion?.rounds, rounds > 1 else { continue }
            throw StageError(
                .usage,
                "recipe \(swept.name): expansion.rounds is \(rounds), and a chain of jobs makes one round; expected "
                    + "--set expansion.rounds=1, or crux-loop, which makes them all")
        }
        let run = ChainRun(
            root: output, inputs: input, prompts: prompts, checkpoint: checkpoint,
            recipes: recipes, set: set, folder: jobs.folder())
        return Chain(run, until: until, tasks: jobs.tasks(of:), flags: try stageFlags())
    }

    /// Further flags of each stage. An update is told what memory its job has, less what a process needs besides:
    /// without a limit it would take four fifths of the machine's.
    func stageFlags() throws -> [PipelineStage: [String]] {
        var all: [PipelineStage: [String]] = [:]
        for stage in PipelineStage.allCases {
            var own = common(stage)
            for text in flags.values(of: stage) { own += try Self.words(text, stage) }
            if stage == .update, !own.contains("--memory"), let memory = try jobs.memory(of: .update) {
                own += ["--memory", "\(max(1, (memory.bytes / 10 * 9) >> 20))M"]
            }
            all[stage] = own
        }
        return all
    }

    private func common(_ stage: PipelineStage) -> [String] {
        var flags = options.threads.map { ["--threads", "\($0)"] } ?? []
        if options.seed != 0, stage != .ingest, stage != .score { flags += ["--seed", "\(options.seed)"] }
        if let most = options.maxRejected, stage == .ingest { flags += ["--max-rejected", "\(most)"] }
        return flags + (options.noVerify ? ["--no-verify"] : [])
    }

    private static func words(_ text: String, _ stage: PipelineStage) throws -> [String] {
        do { return try ShellText.words(text) } catch is ShellText.OpenQuote {
            throw StageError(.usage, "--flags \(stage.rawValue): found a quote that isn't closed: \(text)")
        }
    }
}

extension PipelineStage: ExpressibleByArgument {}
