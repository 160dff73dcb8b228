import Credit
import Formats

/// What the survey finds in one row.
struct RowFinding: Sendable {
    /// nil: it can't take part.
    private(set) var fact: PlanFacts.Row?
    private(set) var reason = ""
    private(set) var group = ""
    private(set) var version = ""
    private(set) var evidence = ""
    /// Whether it has no log-probabilities that the update would read.
    private(set) var lacksLogprobs = false

    /// Of any row; throws where a row that takes part lacks what credit reads.
    init(_ row: ScoredRollout, _ needs: RowRequirements) throws {
        if let reason = row.dropReason {
            self.reason = reason
            return
        }
        try needs.check(row)
        (group, version, evidence) = (row.rollout.groupID, row.rollout.policyVersion, row.evidence)
        let input = try needs.creditInput(row, columns: needs.rewardColumns)
        fact = PlanFacts.Row(input, reward: needs.recipe.credit.shapedReward(input), entropy: row.has(.entropyLow) ? .interval : row.has(.entropy) ? .exact : .none)
        lacksLogprobs = !needs.updateColumns.allSatisfy { row.present?.contains($0) ?? false }
    }

    /// The same where it takes no tokens to tell; nil where the row must be read to say what is wrong with it.
    init?(_ row: RowView, _ columns: SurveyedColumns, _ policy: CreditPolicy) {
        let reward = row.scores.float32(SurveyedColumns.reward), verdict = row.scores.text(SurveyedColumns.verdict) ?? ""
        if let reason = ScoredRollout.dropReason(verdict: verdict, reward: reward) {
            self.reason = reason
            return
        }
        guard let reward, let mask = row.ingest.list(SurveyedColumns.mask), columns.hasCredit(row) else { return nil }
        let isTruncated = row.ingest.text(SurveyedColumns.finish) == "length", correct = row.scores.bool(SurveyedColumns.correct), trainable = mask.trueCount
        let shaped = policy.reward.reward(score: Double(reward), isCorrect: correct, length: trainable)
        fact = PlanFacts.Row(length: mask.count, trainable: trainable, isTruncated: isTruncated, correct: correct, reward: shaped, entropy: columns.entropy(row))
        group = row.ingest.text(SurveyedColumns.group) ?? ""
        version = row.ingest.text(SurveyedColumns.version) ?? ""
        evidence = row.scores.text(SurveyedColumns.scoreEvidence) ?? row.ingest.text(SurveyedColumns.evidence) ?? ""
        lacksLogprobs = !columns.hasLogprobs(row)
    }
}

/// The columns that the survey looks at, by their number among the views.
struct SurveyedColumns: Sendable {
    static let rolloutID = 0
    static let group = 1, version = 2, finish = 3, evidence = 4, mask = 5
    static let reward = 1, correct = 2, verdict = 3, scoreEvidence = 4

    let views: ColumnViews
    private let credit: [Place]
    private let update: [Place]
    private let exact: Place
    private let interval: Place

    /// A column that is only looked for.
    private struct Place: Sendable {
        let isOfIngest: Bool
        let index: Int

        func isPresent(_ row: RowView) -> Bool { isOfIngest ? row.ingest.isPresent(index) : row.scores.isPresent(index) }
    }

    init(_ needs: RowRequirements) {
        var views = ColumnViews(
            ingest: ["rollout_id", "group_id", "policy_version", "finish_reason", "evidence", "loss_mask"].map { .values($0) },
            scores: ["rollout_id", "reward", "correct", "verdict", "evidence"].map { .values($0) })
        func place(_ name: String) -> Place {
            let isOfIngest = TokenColumn(rawValue: name)?.isOfIngest ?? false
            if isOfIngest { views.ingest.append(.presence(name)) } else { views.scores.append(.presence(name)) }
            return Place(isOfIngest: isOfIngest, index: (isOfIngest ? views.ingest : views.scores).count - 1)
        }
        credit = needs.creditColumns.flatMap(\.fileColumns).map(place)
        update = needs.updateColumns.map(place)
        (exact, interval) = (place(TokenColumn.entropy.rawValue), place(TokenColumn.entropyLow.rawValue))
        self.views = views
    }

    func entropy(_ row: RowView) -> PlanFacts.EntropyKnowledge { interval.isPresent(row) ? .interval : exact.isPresent(row) ? .exact : .none }

    /// Whether a row has what credit reads, and what the update will.
    func hasCredit(_ row: RowView) -> Bool { credit.allSatisfy { $0.isPresent(row) } }
    func hasLogprobs(_ row: RowView) -> Bool { update.allSatisfy { $0.isPresent(row) } }
}
