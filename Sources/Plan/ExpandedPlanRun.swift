import Credit
import Formats
import Foundation
import Scratch
import StageSupport

/// The second plan of an expansion: the jobs' results, joined to their bases and states, → credit → tables. In passes
/// over the dump, like any plan.
struct ExpandedPlanRun {
    let expansion: any Expansion
    let jobs: JobDirectory
    let rollouts: ScoredRollouts
    let writer: PlanWriter

    func run() throws -> StageSummary {
        let context = writer.context, recipe = writer.recipe, space = ScratchSpace(folder: writer.directory.path)
        let needs = RowRequirements(recipe: recipe, directory: rollouts.directory)
        let firstPass = try ExpandedFirstPass(
            rollouts, try JobIndex(jobs, space), expansion, needs, space, threads: context.threads)
        let (credited, figures) = try ExpansionCrediting(firstPass, expansion).run(threads: context.threads)
        let tokens = ExpandedTokens(rows: firstPass.rows, credited: credited, threads: context.threads)
        let plan = try recipe.credit.buildPlan(credited, firstPass.facts, tokens, seed: context.options.seed)
        try firstPass.requireLogprobs(plan)
        try writer.requireDecided(plan, width: firstPass.rows.evidenceWidth)
        return try writer.write(
            plan, tokens, facts: firstPass.facts, dropped: DroppedFromExpansion(firstPass: firstPass, plan: plan),
            evidence: firstPass.evidence(plan), counts: counts(firstPass.rows, figures), lines: lines(figures),
            summary: ["values": figures.values.value])
    }

    private func counts(_ rows: ExpandedRows, _ figures: ExpansionCrediting.Figures) -> [String: Int] {
        [
            "bases": rows.index.baseCount, "jobs": rows.index.jobs.count, "results": rows.results.count,
            "missing_results": rows.index.jobs.count - rows.results.count, "states": figures.states,
        ]
    }

    private func lines(_ figures: ExpansionCrediting.Figures) -> [String] {
        func number(_ mean: ExpansionCrediting.Mean) -> String { String(format: "%.4f", mean.value) }
        return [
            "\(type(of: expansion).name): \(figures.values.count) states with a value, mean \(number(figures.values)), "
                + "\(figures.mixed) of them strictly between 0 and 1"
        ] + (figures.factors.count == 0 ? [] : ["factors on advantages: mean \(number(figures.factors))"])
    }
}
