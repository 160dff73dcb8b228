import Arrow
import Files
import Formats
import Models
import Objectives
import Recipes

/// The rows of a plan by optimizer step. They stay on disk: a step's are read when it begins.
struct PlanReader {
    let path: String
    let count: Int
    /// Tokens that could be drawn, over all rows of the step that has most.
    let mostSupportIDs: Int
    /// The same of the sampler's experts.
    let mostRoutedExperts: Int
    /// Per step of the plan, in order, its rows' numbers in the file.
    private let steps: [[Int]]
    private let reader: ArrowTableReader<PlanRow>

    /// Reads and checks every row once.
    init(path: String, _ checkpoint: Checkpoint, _ recipe: Recipe) throws {
        let check = PlanCheck(path: path, checkpoint: checkpoint, recipe: recipe),
            reader = try ArrowTableReader(path: path, table: Tables.plan)
        var members: [Int32: [Int]] = [:], supportIDs: [Int32: Int] = [:], experts: [Int32: Int] = [:], count = 0
        try reader.forEachRow { row in
            try check.check(row)
            members[row.step, default: []].append(count)
            supportIDs[row.step, default: 0] += row.supportTokenIDs?.count ?? 0
            experts[row.step, default: 0] += row.routedExperts?.count ?? 0
            count += 1
        }
        (self.path, self.reader, self.count) = (path, reader, count)
        mostSupportIDs = supportIDs.values.max() ?? 0
        mostRoutedExperts = experts.values.max() ?? 0
        steps = members.sorted { $0.key < $1.key }.map(\.value)
    }

    var stepCount: Int { steps.count }

    func rows(ofStep step: Int) throws -> [PlanRow] { try reader.rows(at: steps[step]) }
}

/// What a row must be so that the arithmetic may trust it.
private struct PlanCheck {
    let path: String
    let checkpoint: Checkpoint
    let recipe: Recipe

    /// Beyond what every reader of plans holds.
    func check(_ row: PlanRow) throws {
        try checkTokens(row)
        try checkSupport(row)
        try checkRoutes(row)
        try checkReturns(row)
        try checkTerms(row)
    }

    /// Columns of the terms that stand beside the objective.
    private func checkTerms(_ row: PlanRow) throws {
        let loss = recipe.loss
        let needed = [
            (loss.bonus != nil, "entropy_weights", row.entropyWeights, "entropy.bonus"),
            (loss.auxiliary != nil, "auxiliary_weights", row.auxiliaryWeights, "objective.auxiliary"),
            (
                loss.staleRows?.against == .sampler, "rollout_logprobs", row.rolloutLogprobs,
                "objective.drop_stale against the sampler"
            ),
        ]
        for (isNeeded, name, values, purpose) in needed where isNeeded && values == nil {
            throw fail(row, "no \(name)", "them, for \(purpose)", "Plan again with this version.")
        }
    }

    private func fail(_ row: PlanRow, _ found: String, _ expected: String, _ remedy: String = "Plan again.")
        -> FormatError
    {
        FormatError(file: path, place: "rollout '\(row.rolloutID)'", found: found, expected: expected, remedy: remedy)
    }

    private func checkTokens(_ row: PlanRow) throws {
        let vocabulary = checkpoint.architecture.vocabulary
        if let token = row.tokenIDs.first(where: { !(0..<Int32(vocabulary)).contains($0) }) {
            throw fail(
                row, "token id \(token)", "ids below the vocabulary of \(checkpoint.directory), \(vocabulary)",
                "Give the checkpoint that sampled the dump.")
        }
    }

    private func checkSupport(_ row: PlanRow) throws {
        guard let support = row.support else { return }
        let vocabulary = Int32(checkpoint.architecture.vocabulary)
        if let token = support.tokenIDs.first(where: { !(0..<vocabulary).contains($0) }) {
            throw fail(
                row, "token id \(token) among those that could be drawn", "ids below \(vocabulary)",
                "Give the checkpoint that sampled the dump.")
        }
        guard recipe.objective.output == .divergence else { return }
        throw fail(
            row, "a set of tokens that could be drawn",
            "none: objective \(type(of: recipe.objective).name) compares whole distributions",
            "Score again with --ignore-support, and plan by those scores.")
    }

    private func checkRoutes(_ row: PlanRow) throws {
        guard let routes = row.routes, recipe.objective.output.isOfPolicy,
            let fault = checkpoint.architecture.fault(of: routes)
        else { return }
        throw fail(
            row, fault.found, fault.expected,
            "Give the checkpoint that sampled the dump, or score again with --ignore-routed-experts and plan by that.")
    }

    private func checkReturns(_ row: PlanRow) throws {
        if recipe.objective.readsReturns, row.returns == nil {
            throw fail(
                row, "no returns", "them, for objective \(type(of: recipe.objective).name)",
                "Plan again with an advantage that gives returns, such as gae.")
        }
        let columns: [(String, [Float]?)] = [
            ("advantages", row.advantages), ("token_weights", row.tokenWeights), ("old_logprobs", row.oldLogprobs),
            ("returns", row.returns),
            ("kl_weights", row.klWeights), ("entropy_weights", row.entropyWeights),
            ("auxiliary_weights", row.auxiliaryWeights), ("reference_logprobs", row.referenceLogprobs),
            ("values", row.values),
        ]
        for (name, values) in columns {
            guard let values, let bad = values.indices.first(where: { row.lossMask[$0] && !values[$0].isFinite }) else {
                continue
            }
            throw fail(row, "\(name) \(values[bad]) at position \(bad)", "a finite number")
        }
        guard let range = recipe.objective.rewardRange, !range.contains(Double(row.reward)) else { return }
        throw fail(
            row, "reward \(row.reward)",
            "\(range.lowerBound) to \(range.upperBound), as objective \(type(of: recipe.objective).name) needs it")
    }
}
