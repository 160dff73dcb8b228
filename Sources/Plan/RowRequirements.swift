import Credit
import Formats
import Objectives
import Recipes
import StageSupport

/// What a recipe needs of rows, and how rows look to credit.
struct RowRequirements: Sendable {
    let recipe: Recipe
    /// Where the scores are, for messages.
    let directory: String
    /// Per-token columns without which no credit can be given.
    let creditColumns: [TokenColumn]
    private let known: Set<TokenColumn>
    /// Tokens that the recipe leaves out.
    let endTokens: Set<Int32>

    init(recipe: Recipe, directory: String, endTokens: Set<Int32> = []) {
        (self.recipe, self.directory) = (recipe, directory)
        self.endTokens = recipe.credit.excludesEndTokens ? endTokens : []
        let columns = recipe.credit.columns
        creditColumns = columns.sorted { $0.rawValue < $1.rawValue }
        known = columns.union([.oldLogprobs, .rolloutLogprobs, .entropyLow, .entropyHigh])
    }

    /// What the first plan of an expansion asks of every row: nothing but what its method reads, which it asks for
    /// itself. Rewards stay as they are.
    init(jobsOf recipe: Recipe, directory: String) {
        var bare = recipe
        (bare.credit, bare.loss) = (CreditRecipe(), TrainingLoss())
        self.init(recipe: bare, directory: directory)
    }

    /// Everything that credit and the update will read of a row, before any work starts.
    func check(_ row: ScoredRollout) throws {
        for column in creditColumns where !mayLack(column) { try require(column, row, for: purpose(column)) }
        if recipe.kl.isInReward {
            for column in [TokenColumn.oldLogprobs, .referenceLogprobs] {
                try require(column, row, for: "kl.placement reward")
            }
        }
        if readsRoles, row.rollout.tokenRoles == nil {
            throw missing(
                "token_roles", row, "objective.auxiliary environment_nll",
                "Write them into the dump (who wrote each token, docs/dump-format.md), or leave it out.")
        }
        if correctionChecksSampling, row.isOfUnknownSupport {
            throw biased(row, "a correction: the ratio is biased otherwise")
        }
        if recipe.loss.bonus != nil, row.lacksSupport {
            throw truncated(row, "entropy.bonus: the policy that sampled had another entropy", "leave the bonus out")
        }
    }

    private func mayLack(_ column: TokenColumn) -> Bool {
        column == .rolloutLogprobs && recipe.credit.correction.allowMissing && recipe.credit.correction.isOn
    }

    private func biased(_ row: ScoredRollout, _ purpose: String) -> StageError {
        let allowed = "set correction.allow_truncated_sampling=true"
        guard row.rollout.supportOffsets != nil else { return truncated(row, purpose, allowed) }
        return StageError(
            .invalidInput,
            "\(directory): rollout '\(row.rollout.rolloutID)': found rollout_logprobs whose logprobs_kind isn't support, "
                + "expected those over the tokens that could be drawn, for \(purpose). Dump them (SGLang: "
                + "output_token_sampling_logprobs; vLLM: logprobs_mode processed_logprobs), or \(allowed).")
    }

    private func truncated(_ row: ScoredRollout, _ purpose: String, _ other: String) -> StageError {
        StageError(
            .invalidInput,
            "\(directory): rollout '\(row.rollout.rolloutID)': found top_p \(row.rollout.topP) or a top_k, expected sampling "
                + "from the whole distribution, or the tokens that could be drawn, for \(purpose). Dump the engine's sampling "
                + "mask (vLLM: --return-sampling-mask; SGLang: return_sampling_mask), sample with top-p 1, or \(other)."
        )
    }

    /// Whether a row that was sampled from a part of the distribution is refused.
    var checksSampling: Bool { correctionChecksSampling || recipe.loss.bonus != nil }

    private var correctionChecksSampling: Bool {
        recipe.credit.correction.readsSampler && !recipe.credit.correction.allowTruncatedSampling
    }

    /// Whether a row's facts follow from its small columns and the length of its mask.
    var readsNoTokens: Bool { scannedColumns.isEmpty && !checksSampling && !readsMetadata && endTokens.isEmpty }

    private var readsMetadata: Bool {
        recipe.credit.readsGreedy || recipe.credit.readsTeacherPrompt || recipe.credit.reward.components != nil
            || readsRoles
    }

    /// Whether a row without a reward can't take part.
    var readsRewards: Bool { recipe.credit.pairs != nil || recipe.credit.advantage.readsRewards }

    /// Whether it matters who wrote a token.
    var readsRoles: Bool { recipe.loss.auxiliary?.type == .environmentNLL }

    /// Per-token columns that decide whether a row takes part: one number that is none would spoil its whole group, or
    /// plan. (Entropies are looked at in the passes that read them.)
    var scannedColumns: Set<TokenColumn> {
        Set(creditColumns).subtracting([.entropy, .entropyLow, .entropyHigh]).union(rewardColumns)
    }

    /// Why a row that has all that is needed takes no part all the same. `input`: with the scanned columns.
    func dropReason(_ input: CreditInput, reward: Double) -> DropReason? {
        guard input.mask.contains(true) else { return .onlyEndTokens }
        if !input.isTaught, recipe.credit.teacher?.unprivileged == .drop { return .notPrivileged }
        for column in scannedColumns.sorted(by: { $0.rawValue < $1.rawValue }) {
            guard let values = input.columns[column], input.mask.firstNotFinite(values) != nil else { continue }
            return .notFinite(column)
        }
        if let trainer = input.columns[.oldLogprobs], let sampler = input.columns[.rolloutLogprobs],
            recipe.credit.correction.rejects(trainer: trainer, sampler: sampler, mask: input.mask)
        {
            return .correction
        }
        return dropReason(reward: reward)
    }

    /// The same of what its shaped reward alone says.
    func dropReason(reward: Double) -> DropReason? {
        guard abs(reward) <= Double(Float.greatestFiniteMagnitude) else { return .notFiniteReward }
        guard let range = recipe.objective.rewardRange, !range.contains(reward) else { return nil }
        return .rewardOutOfRange
    }

    private func purpose(_ column: TokenColumn) -> String {
        if column == .entropy, recipe.credit.needsEntropy { return "the recipe's entropy section" }
        if recipe.credit.correction.readsSampler, column == .rolloutLogprobs { return "the recipe's correction" }
        if column == .teacherLogprobs { return "advantage.teacher" }
        return "advantage \(type(of: recipe.credit.advantage).name)"
    }

    /// `columns`: what was read of the row beside its mask; nil is everything.
    func creditInput(_ row: ScoredRollout, length: Int? = nil, columns: Set<TokenColumn>? = nil) throws -> CreditInput {
        var input = CreditInput(
            groupID: row.rollout.groupID, reward: Double(row.score.reward ?? 0), correct: row.score.correct,
            isTruncated: FinishReason.isTruncated(row.rollout.finishReason), mask: mask(row.rollout),
            entropy: row.score.entropy ?? [])
        input.isExcluded = FinishReason(row.rollout.finishReason) == .excluded
        // A length penalty counts the token that ends a rollout, whoever learns from it.
        input.length = length ?? (endTokens.isEmpty ? nil : row.rollout.lossMask.count { $0 })
        if recipe.credit.reward.components != nil {
            input.rewards = row.score.rewards.flatMap { NamedRewards.parse($0) } ?? [:]
        }
        if readsRoles, let auxiliary = recipe.loss.auxiliary {
            input.environment = row.rollout.environmentCoefficients(auxiliary).count { $0 != 0 }
        }
        input.isGreedy = recipe.credit.readsGreedy && row.isGreedy
        input.isTaught = !recipe.credit.readsTeacherPrompt || row.isPrivileged
        if recipe.credit.readsTurns { input.turnStates = row.rollout.turnStates(input.mask) }
        for column in columns ?? known where column != .entropy { input.columns[column] = row.column(column) }
        if recipe.kl.isInReward, let logprobs = row.score.oldLogprobs, let reference = row.score.referenceLogprobs {
            input.tokenRewards = recipe.kl.rewards(logprobs: logprobs, reference: reference, mask: input.mask)
        }
        try checkLengths(input, row)
        return input
    }

    /// A rollout's trainable tokens, as far as the recipe takes them.
    private func mask(_ rollout: RolloutRow) -> [Bool] {
        guard !endTokens.isEmpty else { return rollout.lossMask }
        return zip(rollout.lossMask, rollout.tokenIDs).map { $0 && !endTokens.contains($1) }
    }

    /// What the rewards of single tokens are made of.
    var rewardColumns: Set<TokenColumn> { recipe.kl.isInReward ? [.oldLogprobs, .referenceLogprobs] : [] }

    private func checkLengths(_ input: CreditInput, _ row: ScoredRollout) throws {
        for (column, values) in input.columns where values.count != input.mask.count {
            throw wrongLength(column, values.count, row)
        }
        guard !input.entropy.isEmpty else { return }
        guard input.entropy.count == input.mask.count else { throw wrongLength(.entropy, input.entropy.count, row) }
        guard let bad = input.mask.firstNotFinite(input.entropy) else { return }
        throw StageError(
            .invalidInput,
            "\(directory): rollout '\(row.rollout.rolloutID)': found entropy \(input.entropy[bad]) at position \(bad), expected a finite number. Score the rollouts again."
        )
    }

    func wrongLength(_ column: TokenColumn, _ count: Int, _ row: ScoredRollout) -> StageError {
        StageError(
            .invalidInput,
            "\(directory): rollout '\(row.rollout.rolloutID)': found \(count) entries in \(column.rawValue), expected \(row.rollout.lossMask.count), one per token"
        )
    }

    func require(_ column: TokenColumn, _ row: ScoredRollout, for purpose: String) throws {
        guard !row.has(column) else { return }
        let found = column == .entropy ? "entropy (evidence '\(row.evidence)')" : column.rawValue
        throw missing(found, row, purpose, column.remedy)
    }

    /// Whether the objective's ratio starts from the trainer's log-probabilities, not the sampler's.
    private var startsFromTrainer: Bool { recipe.credit.correction.behavior == .trainer }

    /// Columns of the scores that the update will read.
    var updateColumns: [String] {
        var columns: [String] = []
        let isOfSampler = recipe.loss.readsOldLogprobs && !startsFromTrainer
        if recipe.loss.readsOldLogprobs, startsFromTrainer { columns.append(TokenColumn.oldLogprobs.rawValue) }
        if isOfSampler || recipe.loss.staleRows?.against == .sampler {
            columns.append(TokenColumn.rolloutLogprobs.rawValue)
        }
        if recipe.kl.isInLoss || recipe.objective.reference == .policy {
            columns.append(TokenColumn.referenceLogprobs.rawValue)
        }
        if recipe.objective.reference == .process { columns.append("process_reference_logprobs") }
        return columns
    }

    /// Whether a row that has been read has them.
    func hasLogprobs(_ row: ScoredRollout) -> Bool { (try? requireLogprobs(row)) != nil }

    /// That a kept row has them.
    func requireLogprobs(_ row: ScoredRollout) throws {
        let objective = "objective \(type(of: recipe.objective).name)"
        if recipe.loss.readsOldLogprobs {
            try require(
                startsFromTrainer ? .oldLogprobs : .rolloutLogprobs, row,
                for: recipe.objective.readsOldLogprobs ? objective : termOfOldLogprobs)
        }
        if recipe.loss.staleRows?.against == .sampler {
            try require(.rolloutLogprobs, row, for: "objective.drop_stale against the sampler")
        }
        if recipe.kl.isInLoss { try require(.referenceLogprobs, row, for: "kl.coef \(recipe.kl.coef)") }
        switch recipe.objective.reference {
        case .policy: try require(.referenceLogprobs, row, for: objective)
        case .process where !row.hasProcessReference:
            throw missing("process_reference_logprobs", row, objective, "Score again with --process-reference DIR.")
        case .process, nil: break
        }
    }

    /// The term that compares with old log-probabilities where the objective does not.
    private var termOfOldLogprobs: String {
        recipe.loss.staleRows?.against == .trainer
            ? "objective.drop_stale" : "kl.weighted \(recipe.kl.weighted.rawValue)"
    }

    private func missing(_ what: String, _ row: ScoredRollout, _ purpose: String, _ remedy: String) -> StageError {
        StageError(
            .invalidInput,
            "\(directory): rollout '\(row.rollout.rolloutID)': found no \(what), expected it for \(purpose). \(remedy)")
    }
}

extension [Bool] {
    /// The first of the values at true places that is NaN or infinite.
    func firstNotFinite(_ values: [Float]) -> Int? {
        guard !values.withUnsafeBufferPointer(\.areFinite) else { return nil }
        return values.indices.first { self[$0] && !values[$0].isFinite }
    }
}
