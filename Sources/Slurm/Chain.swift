import Files
import Recipes
import SlurmJobs
import StageSupport

/// A recipe of the sweep, and the name of its folder.
struct SweptRecipe {
    let name: String
    let path: String
    let recipe: Recipe

    /// Throws where one can't be read, or two would have one folder.
    static func load(_ paths: [String], set: [String]) throws -> [SweptRecipe] {
        let recipes = try paths.map {
            SweptRecipe(name: folderName($0), path: $0, recipe: try Recipe.load(path: $0, overrides: set))
        }
        for (name, same) in Dictionary(grouping: recipes, by: \.name) where same.count > 1 {
            throw StageError(
                .usage,
                "--recipe: \(same.map(\.path).joined(separator: " and ")) would both be in the folder \(name)/: "
                    + "give their files different names.")
        }
        if let taken = recipes.first(where: { reserved.contains($0.name) }) {
            throw StageError(
                .usage, "--recipe \(taken.path): the run has a folder \(taken.name)/ of its own: rename it.")
        }
        return recipes
    }

    private static let reserved: Set<String> = ["rollout", "ingest", "score", "slurm"]

    /// The file's name without its ending; what doesn't fit a job's name becomes an underscore.
    private static func folderName(_ path: String) -> String {
        let file = path.split(separator: "/").last.map(String.init) ?? path
        let stem = file.lastIndex(of: ".").map { $0 == file.startIndex ? file : String(file[..<$0]) } ?? file
        return stem.map { ($0.isASCII && ($0.isLetter || $0.isNumber)) || "-_.".contains($0) ? "\($0)" : "_" }.joined()
    }
}

/// What a chain is made of: the arguments of `crux slurm`.
struct ChainRun {
    let root: String
    let inputs: [String]
    let prompts: String?
    let checkpoint: String?
    let recipes: [SweptRecipe]
    let set: [String]
    /// Of the executables.
    let folder: String

    func path(_ name: String) -> String { root + "/" + name }
}

/// Steps of a run, each a job or a job array, and what each waits for.
struct Chain {
    struct Step {
        let name: String
        let stage: PipelineStage
        let work: JobScript.Work
        /// Directories that it makes: of members one for each.
        let outputs: [String]
        let after: [Wait]
    }

    /// For all tasks of a step, or for the one of the same number.
    enum Wait: Equatable {
        case all(String)
        case sameMember(String)

        var step: String {
            switch self {
            case .all(let step), .sameMember(let step): step
            }
        }

        /// As sbatch takes it, of a job's number or of the shell variable that holds it.
        func flag(_ job: String) -> String {
            switch self {
            case .all: "afterok:" + job
            case .sameMember: "aftercorr:" + job
            }
        }
    }

    private(set) var steps: [Step] = []
    private let run: ChainRun
    private let last: PipelineStage
    private let tasks: (PipelineStage) -> Int
    private let flags: [PipelineStage: [String]]

    init(
        _ run: ChainRun, until: PipelineStage?, tasks: @escaping (PipelineStage) -> Int,
        flags: [PipelineStage: [String]]
    ) {
        (self.run, self.tasks, self.flags) = (run, tasks, flags)
        last = until ?? (run.recipes.isEmpty ? .score : .update)
        addScores()
        guard reaches(.plan) else { return }
        let plain = run.recipes.filter { $0.recipe.credit.expansion == nil }
        if !plain.isEmpty { addSweep(plain) }
        for recipe in run.recipes where recipe.recipe.credit.expansion != nil { addExpansion(recipe) }
    }

    private func reaches(_ stage: PipelineStage) -> Bool {
        let order = PipelineStage.allCases
        return (order.firstIndex(of: stage) ?? 0) <= (order.firstIndex(of: last) ?? 0)
    }

    // MARK: steps

    private mutating func addScores() {
        if let prompts = run.prompts {
            add(
                "rollout", .rollout, sampling(["--prompts", prompts], to: run.path("rollout")), to: run.path("rollout"))
        }
        guard reaches(.ingest) else { return }
        let dump = run.prompts == nil ? run.inputs : [run.path("rollout")]
        add(
            "ingest", .ingest, ["--input"] + dump + ["--output", run.path("ingest")], to: run.path("ingest"),
            after: run.prompts == nil ? [] : [.all("rollout")])
        guard reaches(.score) else { return }
        addScore("score", of: run.path("ingest"), to: run.path("score"), after: "ingest")
    }

    /// Recipes that share the scores: an array of plans, and one of updates, each behind its own plan.
    private mutating func addSweep(_ recipes: [SweptRecipe]) {
        let scored = ["--input", run.path("ingest"), "--scores", run.path("score")]
        let plans = recipes.map { planning($0, scored, to: planPath($0)) }
        addMembers("plan", .plan, recipes, plans, after: .all("score"))
        guard reaches(.update) else { return }
        let wait = recipes.count > 1 ? Wait.sameMember("plan") : .all("plan")
        addMembers("update", .update, recipes, recipes.map { updating($0) }, after: wait)
    }

    /// A recipe that goes back into rollouts: jobs out, results home, and a plan over both.
    private mutating func addExpansion(_ recipe: SweptRecipe) {
        func name(_ part: String) -> String { recipe.name + "-" + part }
        func path(_ part: String) -> String { run.path(recipe.name + "/" + part) }
        let jobs = ["--jobs", path("expansion/jobs")]
        let tokenizer = run.checkpoint.map { ["--tokenizer", $0] } ?? []
        let scored = ["--input", run.path("ingest"), "--scores", run.path("score")]
        add(
            name("expansion"), .plan, planning(recipe, scored, to: path("expansion")) + tokenizer,
            to: path("expansion"), after: [.all("score")])
        guard reaches(.update) else { return }
        add(
            name("expansion-rollout"), .rollout, sampling(jobs, to: path("expansion-rollout")),
            to: path("expansion-rollout"), after: [.all(name("expansion"))])
        add(
            name("expansion-ingest"), .ingest,
            ["--input", path("expansion-rollout"), "--output", path("expansion-ingest")] + jobs,
            to: path("expansion-ingest"), after: [.all(name("expansion-rollout"))], isShared: false)
        addScore(
            name("expansion-score"), of: path("expansion-ingest"), to: path("expansion-score"),
            after: name("expansion-ingest"))
        let expanded = ["--input", path("expansion-ingest"), "--scores", path("expansion-score")] + jobs
        add(
            name("plan"), .plan, planning(recipe, expanded, to: planPath(recipe)), to: planPath(recipe),
            after: [.all(name("expansion-score"))])
        add(name("update"), .update, updating(recipe), to: updatePath(recipe), after: [.all(name("plan"))])
    }

    private mutating func addScore(_ name: String, of ingest: String, to output: String, after step: String) {
        add(name, .score, ["--input", ingest, "--output", output], to: output, after: [.all(step)])
    }

    // MARK: commands

    private func sampling(_ source: [String], to output: String) -> [String] {
        ["--checkpoint", run.checkpoint ?? ""] + source + ["--output", output]
    }

    private func planning(_ recipe: SweptRecipe, _ inputs: [String], to output: String) -> [String] {
        inputs + ["--recipe", recipe.path] + run.set.flatMap { ["--set", $0] } + ["--output", output]
    }

    private func updating(_ recipe: SweptRecipe) -> [String] {
        ["--plan", planPath(recipe), "--checkpoint", run.checkpoint ?? "", "--output", updatePath(recipe)]
    }

    private func planPath(_ recipe: SweptRecipe) -> String { run.path(recipe.name + "/plan") }
    private func updatePath(_ recipe: SweptRecipe) -> String { run.path(recipe.name + "/update") }

    private func command(_ stage: PipelineStage, _ arguments: [String]) -> [String] {
        [run.folder + "/" + stage.executable] + arguments + (flags[stage] ?? [])
    }

    private mutating func add(
        _ name: String, _ stage: PipelineStage, _ arguments: [String], to output: String, after: [Wait] = [],
        isShared: Bool = true
    ) {
        let command = command(stage, arguments)
        let work =
            stage.canBeShared && isShared ? JobScript.Work.shared(command, tasks: tasks(stage)) : .one(command)
        steps.append(Step(name: name, stage: stage, work: work, outputs: [output], after: after))
    }

    private mutating func addMembers(
        _ name: String, _ stage: PipelineStage, _ recipes: [SweptRecipe], _ arguments: [[String]], after: Wait
    ) {
        let members = zip(recipes, arguments).map { JobScript.Member($0.name, command(stage, $1)) }
        steps.append(
            Step(
                name: name, stage: stage, work: .members(members),
                outputs: recipes.map { run.path($0.name + "/" + name) }, after: [after]))
    }
}
