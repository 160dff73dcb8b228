import Credit
import Formats
import Scratch
import StageSupport

/// What one pass over the results of jobs and their bases tells: which rows there are, and what the plan must know of
/// them.
struct ExpandedFirstPass {
    let rows: ExpandedRows
    /// Of every row, those that take no part too.
    let facts: RolloutFacts
    /// Rows of the dump that are unusable, with their reason.
    let unusable: DroppedRows
    /// Rows of the dump that are no job's result.
    let unknown: DroppedRows
    private let labels: Labels

    /// What else is remembered of each row.
    private struct Labels {
        let evidence: InternedStrings
        let rows: ScratchArray<Label>
        let reasons: DropReasons
    }

    private struct Label: BitwiseCopyable, Sendable {
        /// Number of its evidence's name.
        let evidence: Int32
        /// Number of the reason why it takes no part; 0 where it does.
        let reason: Int32
        /// Whether the update would miss log-probabilities.
        let lacksLogprobs: Bool
    }

    /// `space`: for what grows with the rows.
    init(
        _ rollouts: ScoredRollouts, _ index: JobIndex, _ expansion: any Expansion, _ needs: RowRequirements,
        _ space: ScratchSpace, threads: Int
    ) throws {
        let found = try JoinedRows(rollouts, index, space)
        (unusable, unknown) = (found.unusable, found.unknown)
        let rows = ExpandedRows(rollouts, index, expansion, needs, results: found.results)
        self.rows = rows
        var facts = try RolloutFactsBuilder(space), evidence = try StringInterner(space),
            labels = ScratchWriter<Label>(space), reasons = DropReasons()
        try parallelInOrder(rows.count, threads: threads) {
            try Self.look(rows, $0)
        } consume: { _, row in
            try facts.add([row.fact], groupNames: [row.group])
            let reason = row.reason.map { reasons.number(of: $0) }
            try labels.append(
                Label(
                    evidence: try evidence.number(of: row.evidence), reason: reason ?? 0,
                    lacksLogprobs: row.lacksLogprobs))
            space.releasePages(after: 1)
        }
        self.facts = try facts.finish()
        self.labels = Labels(evidence: try evidence.finish(), rows: try labels.finish(), reasons: reasons)
    }

    private struct Seen: Sendable {
        let fact: RolloutFacts.Row
        let group: String
        let evidence: String
        let reason: DropReason?
        let lacksLogprobs: Bool
    }

    /// The one place where an expansion's rewards are shaped.
    private static func look(_ rows: ExpandedRows, _ number: Int) throws -> Seen {
        let row = try rows.row(number)
        try rows.needs.check(row)
        let input = try rows.input(row, number), reward = rows.needs.recipe.credit.shapedReward(input)
        var fact = RolloutFacts.Row(input, reward: reward, entropy: RolloutFacts.EntropyKnowledge(input))
        fact.group = 0
        return Seen(
            fact: fact, group: input.groupID, evidence: row.evidence,
            reason: rows.needs.dropReason(input, reward: reward), lacksLogprobs: !rows.needs.hasLogprobs(row))
    }

    /// Why a row takes no part; nil where it does.
    func dropReason(_ number: Int) -> DropReason? { labels.reasons[labels.rows[number].reason] }

    /// How often each evidence occurs among kept rows.
    func evidence(_ plan: CreditPlan) -> [String: Int] {
        var counts = [Int](repeating: 0, count: labels.evidence.count)
        facts.space.forEach(plan.kept.indices) { counts[Int(labels.rows[Int(plan.kept[$0].row)].evidence)] += 1 }
        return Dictionary(uniqueKeysWithValues: zip(labels.evidence, counts).filter { $1 > 0 })
    }

    /// Throws where a kept row has no log-probabilities that the update will read.
    func requireLogprobs(_ plan: CreditPlan) throws {
        guard let row = plan.kept.first(where: { labels.rows[Int($0.row)].lacksLogprobs })?.row else { return }
        try rows.needs.requireLogprobs(try rows.row(Int(row)))
    }
}

/// Rows of a dump by what they are to the jobs.
private struct JoinedRows {
    let results: ScratchArray<ExpandedRows.Result>
    let unusable: DroppedRows
    let unknown: DroppedRows

    init(_ rollouts: ScoredRollouts, _ index: JobIndex, _ space: ScratchSpace) throws {
        var results = ScratchWriter<ExpandedRows.Result>(space), unusable = DroppedRowsWriter(space),
            unknown = DroppedRowsWriter(space)
        var columns = RowColumns()
        columns.rollouts.insert("job_id")
        columns.scores.formUnion(["verdict", "reward"])
        let reader = RowReader(rollouts, columns: columns)
        for batch in rollouts.batches {
            _ = try reader.read(batch.indices) { row in row }.enumerated().map { offset, row in
                let number = Int32(batch.lowerBound + offset)
                if let reason = row.dropReason() {
                    try unusable.append(number, reason)
                } else if let job = row.rollout.jobID.flatMap({ index.number(ofJobID: $0) }) {
                    try results.append(ExpandedRows.Result(row: number, job: Int32(job)))
                } else {
                    try unknown.append(number, .unknownJob)
                }
            }
            space.releasePages(after: batch.count)
        }
        (self.results, self.unusable, self.unknown) = (
            try results.finish(), try unusable.finish(), try unknown.finish()
        )
    }
}
