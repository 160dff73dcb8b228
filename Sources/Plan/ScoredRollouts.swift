import Credit
import Formats
import Foundation
import Recipes
import StageSupport

/// A rollout with its scores.
struct ScoredRollout: Sendable {
    var rollout: RolloutRow
    var score: ScoreRow
}

/// The rows of ingest with those of score beside them.
struct ScoredRollouts {
    private(set) var rows: [ScoredRollout] = []
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
            rows += zip(rollouts, marks).map { ScoredRollout(rollout: $0, score: $1) }
        }
    }

    /// Rows that can take part, and those that can't with their reason.
    func sift() -> (eligible: [Int], dropped: [(Int, String)]) {
        var eligible: [Int] = [], dropped: [(Int, String)] = []
        for (index, row) in rows.enumerated() {
            if row.score.verdict.hasPrefix("invalid_") {
                dropped.append((index, row.score.verdict))
            } else if row.score.reward == nil {
                dropped.append((index, "no_reward"))
            } else {
                eligible.append(index)
            }
        }
        return (eligible, dropped)
    }
}

extension ScoredRollout {
    /// A per-token column by its name; nil where this row has none.
    func column(_ column: TokenColumn) -> [Float]? {
        switch column {
        case .entropy: score.entropy
        case .oldLogprobs: score.oldLogprobs
        case .rolloutLogprobs: rollout.rolloutLogprobs
        case .referenceLogprobs: score.referenceLogprobs
        case .values: score.values
        case .processRewards: processRewards
        case .referenceKL: score.referenceKL
        case .expectedQ: score.expectedQ
        }
    }

    private var processRewards: [Float]? {
        guard let policy = score.processLogprobs, let reference = score.processReferenceLogprobs else { return nil }
        return zip(policy, reference).map { $0 - $1 }
    }

    /// Whether the sampler drew from less than the whole distribution.
    var wasTruncatedSampling: Bool {
        let extras = (try? JSONSerialization.jsonObject(with: Data(rollout.extras.utf8)) as? [String: Any]) ?? [:]
        let topK = (extras["top_k"] as? String).flatMap { Int($0) } ?? extras["top_k"] as? Int ?? 0
        return rollout.topP < 1 || topK > 0
    }
}

/// What a recipe needs of rows, and how rows look to credit.
struct RowRequirements {
    let recipe: Recipe
    /// Where the scores are, for messages.
    let directory: String

    /// Everything that credit and the update will read of a row, before any work starts.
    func check(_ row: ScoredRollout) throws {
        for column in recipe.credit.columns.sorted(by: { $0.rawValue < $1.rawValue }) { try require(column, row, for: purpose(column)) }
        if recipe.kl.isInReward { for column in [TokenColumn.oldLogprobs, .referenceLogprobs] { try require(column, row, for: "kl.placement reward") } }
        if recipe.credit.correction.isOn, !recipe.credit.correction.allowTruncatedSampling, row.wasTruncatedSampling {
            throw StageError(
                .invalidInput,
                "\(directory): rollout '\(row.rollout.rolloutID)': found top_p \(row.rollout.topP) or a top_k, expected sampling from the whole distribution for a "
                    + "correction: the ratio is biased otherwise. Sample with top-p 1, or set correction.allow_truncated_sampling=true.")
        }
    }

    private func purpose(_ column: TokenColumn) -> String {
        if column == .entropy { return "the recipe's entropy section" }
        if recipe.credit.correction.isOn, column == .rolloutLogprobs { return "the recipe's correction" }
        return "advantage \(type(of: recipe.credit.advantage).name)"
    }

    func creditInput(_ row: ScoredRollout, length: Int? = nil) throws -> CreditInput {
        try check(row)
        var input = CreditInput(
            groupID: row.rollout.groupID, reward: Double(row.score.reward ?? 0), correct: row.score.correct,
            isTruncated: row.rollout.finishReason == "length", mask: row.rollout.lossMask, entropy: row.score.entropy ?? [])
        input.length = length
        for column in recipe.credit.columns.union([.oldLogprobs, .rolloutLogprobs]) where column != .entropy { input.columns[column] = row.column(column) }
        if recipe.kl.isInReward, let logprobs = row.score.oldLogprobs, let reference = row.score.referenceLogprobs {
            input.tokenRewards = recipe.kl.rewards(logprobs: logprobs, reference: reference, mask: row.rollout.lossMask)
        }
        return input
    }

    func require(_ column: TokenColumn, _ row: ScoredRollout, for purpose: String) throws {
        guard row.column(column) == nil else { return }
        let found = column == .entropy ? "entropy (evidence '\(row.rollout.evidence)')" : column.rawValue
        throw missing(found, row, purpose, column.remedy)
    }

    /// What the update will read of a kept row.
    func requireLogprobs(_ row: ScoredRollout) throws {
        let objective = "objective \(type(of: recipe.objective).name)"
        if recipe.objective.readsOldLogprobs { try require(.oldLogprobs, row, for: objective) }
        if recipe.kl.isInLoss { try require(.referenceLogprobs, row, for: "kl.coef \(recipe.kl.coef)") }
        switch recipe.objective.reference {
        case .policy: try require(.referenceLogprobs, row, for: objective)
        case .process where row.score.processReferenceLogprobs == nil:
            throw missing("process_reference_logprobs", row, objective, "Score again with --process-reference DIR.")
        case .process, nil: break
        }
    }

    private func missing(_ what: String, _ row: ScoredRollout, _ purpose: String, _ remedy: String) -> StageError {
        StageError(.invalidInput, "\(directory): rollout '\(row.rollout.rolloutID)': found no \(what), expected it for \(purpose). \(remedy)")
    }
}
