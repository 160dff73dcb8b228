import Credit
import Formats
import Foundation
import StageSupport

/// The second plan of an expansion: the jobs' results, joined to their bases and states, → credit → tables.
struct ExpandedPlanRun {
    let expansion: any Expansion
    let jobs: JobDirectory
    let rollouts: ScoredRollouts
    let writer: PlanWriter

    func run() throws -> StageSummary {
        let table = try JobTable(jobs, expansion), all = try rollouts.rows()
        let invalid = all.compactMap { row in row.dropReason.map { DroppedRow(row.rollout, $0) } },
            sifted = all.filter { $0.dropReason == nil }
        let eligible = sifted.filter { table.job($0.rollout) != nil },
            strangers = sifted.filter { table.job($0.rollout) == nil }
        let results = eligible.map(table.overlaid), rows = results + table.bases.map(table.scored)
        let inputs = try self.inputs(rows, results: results.count, table)
        let reasons = dropReasons(inputs)
        var credit = credit(rows, results: results.count, inputs, reasons, table)
        let barred = expansion.trainsBases ? Array(inputs.indices) : Array(results.indices)
        credit.dropped += barred.compactMap { row in reasons[row].map { (row, $0) } }
        let used = Set(credit.rows.map(\.row) + credit.dropped.map(\.row))
        credit.dropped += results.indices.filter { !used.contains($0) }.map { ($0, "values_only") }
        let overlaid = credit.overlaid(inputs)
        let plan = try writer.recipe.credit.buildPlan(
            credit, overlaid, InMemoryTokens(inputs: overlaid), seed: writer.context.options.seed)
        try check(plan, rows)
        let unknown = strangers.map { DroppedRow($0.rollout, "unknown_job") }
        let dropped = plan.dropped.entries.map { DroppedRow(rows[Int($0.row)].rollout, $0.reason) }
        let evidence = plan.kept.reduce(into: [String: Int]()) { $0[rows[Int($1.row)].evidence, default: 0] += 1 }
        return try writer.write(
            plan, RowsInMemory(rows: rows, inputs: overlaid),
            facts: try RolloutFacts(inputs, reward: writer.recipe.credit.shapedReward),
            dropped: invalid + unknown + dropped, evidence: evidence,
            counts: counts(table, results: results.count, credit), lines: lines(credit),
            summary: ["values": Self.means(credit.values)])
    }

    /// By row: why it takes no part.
    private func dropReasons(_ inputs: [CreditInput]) -> [String?] {
        let needs = RowRequirements(recipe: writer.recipe, directory: rollouts.directory)
        return inputs.map { needs.dropReason($0, reward: writer.recipe.credit.shapedReward($0)) }
    }

    private func check(_ plan: CreditPlan, _ rows: [ScoredRollout]) throws {
        let needs = RowRequirements(recipe: writer.recipe, directory: rollouts.directory)
        try plan.kept.forEach { try needs.requireLogprobs(rows[Int($0.row)]) }
        try writer.requireDecided(plan) { rows[Int($0)].score.evidenceTopK }
    }

    private func inputs(_ rows: [ScoredRollout], results: Int, _ table: JobTable) throws -> [CreditInput] {
        let needs = RowRequirements(recipe: writer.recipe, directory: rollouts.directory)
        return try rows.map { row in
            let start = table.job(row.rollout).flatMap { table.responseStart(of: $0.baseRolloutID) }
            try needs.check(row)
            var input = try needs.creditInput(row, length: start.map { row.rollout.tokenIDs.count - $0 })
            if expansion.judgesTruncatedWrong, input.isTruncated { (input.reward, input.correct) = (0, false) }
            return input
        }
    }

    /// Credit of all bases, in their order.
    private func credit(
        _ rows: [ScoredRollout], results: Int, _ inputs: [CreditInput], _ reasons: [String?], _ table: JobTable
    ) -> ExpansionCredit {
        var outcomes: [JobTable.StateKey: [Outcome]] = [:]
        for index in 0..<results where reasons[index] == nil {
            guard let job = table.job(rows[index].rollout) else { continue }
            outcomes[table.key(job), default: []].append(
                Outcome(
                    row: index, reward: writer.recipe.credit.shapedReward(inputs[index]),
                    correct: inputs[index].correct, mask: inputs[index].mask))
        }
        var total = ExpansionCredit()
        for (index, base) in table.bases.enumerated() {
            let row = results + index, states = table.states(of: base)
            let rollout = BaseRollout(
                table.scored(base), reward: writer.recipe.credit.shapedReward(inputs[row]),
                correct: inputs[row].correct, thoughtEnd: base.thoughtEnd)
            var expanded = ExpandedBase(
                base: rollout, row: row, states: states,
                outcomes: states.indices.map { outcomes[table.key(base, state: $0, states[$0])] ?? [] })
            expanded.isBaseRejected = reasons[row] != nil
            let credit = expansion.credit(expanded)
            total.rows += credit.rows
            total.dropped += credit.dropped
            total.values += credit.values
            total.factors += credit.factors
        }
        return total
    }

    private func counts(_ table: JobTable, results: Int, _ credit: ExpansionCredit) -> [String: Int] {
        [
            "bases": table.bases.count, "jobs": table.jobCount, "results": results,
            "missing_results": table.jobCount - results, "states": credit.values.count,
        ]
    }

    private func lines(_ credit: ExpansionCredit) -> [String] {
        let values = credit.values.compactMap { $0 }, mixed = values.filter { $0 > 0 && $0 < 1 }.count
        func mean(_ numbers: [Double]) -> String {
            String(format: "%.4f", numbers.isEmpty ? 0 : numbers.reduce(0, +) / Double(numbers.count))
        }
        return [
            "\(type(of: expansion).name): \(values.count) states with a value, mean \(mean(values)), \(mixed) of them strictly between 0 and 1"
        ]
            + (credit.factors.isEmpty ? [] : ["factors on advantages: mean \(mean(credit.factors))"])
    }

    private static func means(_ values: [Double?]) -> Double {
        let known = values.compactMap { $0 }
        return known.isEmpty ? 0 : known.reduce(0, +) / Double(known.count)
    }
}
