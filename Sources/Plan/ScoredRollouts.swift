import Credit
import Formats
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
            if row.score.verdict.hasPrefix("invalid_") { dropped.append((index, row.score.verdict)) } else if row.score.reward == nil {
                dropped.append((index, "no_reward"))
            } else { eligible.append(index) }
        }
        return (eligible, dropped)
    }
}

/// What a recipe needs of rows, and how rows look to credit.
struct RowRequirements {
    let recipe: Recipe
    /// Where the scores are, for messages.
    let directory: String

    func creditInput(_ row: ScoredRollout, length: Int? = nil) throws -> CreditInput {
        if recipe.credit.needsEntropy { try requireEntropy(row, for: "the recipe's entropy section") }
        var input = CreditInput(
            groupID: row.rollout.groupID, reward: Double(row.score.reward ?? 0), correct: row.score.correct,
            isTruncated: row.rollout.finishReason == "length", mask: row.rollout.lossMask, entropy: row.score.entropy ?? [])
        input.length = length
        return input
    }

    func requireEntropy(_ row: ScoredRollout, for purpose: String) throws {
        guard row.score.entropy == nil else { return }
        throw missing(
            "entropy (evidence '\(row.rollout.evidence)')", row, purpose, "Score again with --checkpoint DIR, or take a recipe without entropy.")
    }

    func requireLogprobs(_ row: ScoredRollout) throws {
        if recipe.objective.readsOldLogprobs { try requireOldLogprobs(row, for: "objective \(type(of: recipe.objective).name)") }
        if recipe.kl.isOn, row.score.referenceLogprobs == nil {
            throw missing("reference_logprobs", row, "kl.coef \(recipe.kl.coef)", "Score again with --reference DIR.")
        }
    }

    func requireOldLogprobs(_ row: ScoredRollout, for purpose: String) throws {
        guard row.score.oldLogprobs == nil else { return }
        throw missing("old_logprobs", row, purpose, "Score again with --checkpoint DIR, the policy that sampled.")
    }

    private func missing(_ what: String, _ row: ScoredRollout, _ purpose: String, _ remedy: String) -> StageError {
        StageError(.invalidInput, "\(directory): rollout '\(row.rollout.rolloutID)': found no \(what), expected it for \(purpose). \(remedy)")
    }
}
