/// What stages promise each other of their rows, table by table. A reader holds them before it hands a row out, and
/// names file, row and column where one is broken: nobody behind it checks lengths again, and nobody trusts what
/// another program, or damage, has put there.
enum RowRules {
    static let rollouts: [RowRule<RolloutRow>] = [
        .named("rollout_id") { $0.rolloutID },
        .named("group_id") { $0.groupID },
        .tokens("token_ids") { $0.tokenIDs },
        .perToken("loss_mask", of: "token_ids", { $0.tokenIDs.count }) { $0.lossMask.count },
        .mask("loss_mask") { $0.lossMask },
        .trainable("loss_mask") { $0.lossMask },
        .perToken("rollout_logprobs", of: "token_ids", { $0.tokenIDs.count }) { $0.rolloutLogprobs?.count },
        .allFinite("rollout_logprobs") { $0.rolloutLogprobs },
        .positive("temperature") { $0.temperature },
        topP { $0.topP },
        .grade("evidence") { $0.evidence },
        .atLeast(0, "logits_offset") { $0.logitsOffset },
        .atLeast(0, "logits_length") { $0.logitsLength },
        .finite("given_reward") { $0.givenReward },
    ]

    /// Lists of scores are held to the tokens where both tables are read: see `ScoreRow.fault(of:)`.
    static let scores: [RowRule<ScoreRow>] = [
        .named("rollout_id") { $0.rolloutID },
        .finite("reward") { $0.reward },
        .grade("evidence") { $0.evidence },
        .rule("topk_logprobs") { row, column in
            let ids = row.topkTokenIDs?.count ?? 0, logprobs = row.topkLogprobs?.count ?? ids
            return ids == logprobs
                ? nil : RowFault(column, "\(logprobs) entries in \(column)", "\(ids), one for each of topk_token_ids")
        },
    ]

    static let plan: [RowRule<PlanRow>] = [
        .named("rollout_id") { $0.rolloutID },
        .tokens("token_ids") { $0.tokenIDs },
        perToken("loss_mask") { $0.lossMask.count },
        .mask("loss_mask") { $0.lossMask },
        perToken("advantages") { $0.advantages.count },
        perToken("entropy_mask") { $0.entropyMask.count },
        perToken("token_weights") { $0.tokenWeights.count },
        perToken("old_logprobs") { $0.oldLogprobs.count },
        perToken("reference_logprobs") { $0.referenceLogprobs?.count },
        perToken("kl_weights") { $0.klWeights?.count },
        perToken("returns") { $0.returns?.count },
        perToken("values") { $0.values?.count },
        .allFinite("advantages") { $0.advantages },
        .allFinite("token_weights") { $0.tokenWeights },
        .allFinite("old_logprobs") { $0.oldLogprobs },
        .allFinite("kl_weights") { $0.klWeights },
        .allFinite("returns") { $0.returns },
        .noNaN("reference_logprobs") { $0.referenceLogprobs },
        .noNaN("values") { $0.values },
        .positive("temperature") { $0.temperature },
        .atLeast(0, "step") { $0.step },
        .atLeast(0, "pair") { $0.pair },
        .finite("reward") { $0.reward },
        .grade("evidence") { $0.evidence },
    ]

    private static func perToken(_ column: String, _ count: @escaping @Sendable (PlanRow) -> Int?) -> RowRule<PlanRow> {
        .perToken(column, of: "token_ids", { $0.tokenIDs.count }, count)
    }

    static let jobs: [RowRule<JobRow>] = [
        .named("job_id") { $0.jobID },
        .named("custom_id") { $0.customID },
        .named("base_rollout_id") { $0.baseRolloutID },
        .atLeast(0, "state_index") { $0.stateIndex },
        .atLeast(0, "anchor_position") { $0.anchorPosition },
        .atLeast(1, "prefix_length") { $0.prefixLength },
        .atLeast(0, "replicate") { $0.replicate },
        .atLeast(1, "max_tokens") { $0.maxTokens },
        .ids("injected_token_ids") { $0.injectedTokenIDs },
    ]

    static let bases: [RowRule<BaseRow>] = [
        .named("rollout_id") { $0.rollout.rolloutID },
        .named("group_id") { $0.rollout.groupID },
        .tokens("token_ids") { $0.rollout.tokenIDs },
        perToken("loss_mask") { $0.rollout.lossMask.count },
        .mask("loss_mask") { $0.rollout.lossMask },
        .trainable("loss_mask") { $0.rollout.lossMask },
        .positive("temperature") { $0.rollout.temperature },
        topP { $0.rollout.topP },
        .grade("evidence") { $0.rollout.evidence },
        .finite("reward") { $0.reward },
        perToken("entropy") { $0.entropy?.count },
        perToken("old_logprobs") { $0.oldLogprobs?.count },
        perToken("reference_logprobs") { $0.referenceLogprobs?.count },
        .rule("state_positions") { row, column in
            guard let bad = row.statePositions.first(where: { !(0...Int32(row.rollout.tokenIDs.count)).contains($0) })
            else { return nil }
            return RowFault(
                column, "position \(bad)", "positions from 0 to \(row.rollout.tokenIDs.count), the number of tokens")
        },
        .rule("thought_end") { row, column in
            guard !(-1..<Int32(row.rollout.tokenIDs.count)).contains(row.thoughtEnd) else { return nil }
            return RowFault(
                column, "\(row.thoughtEnd)", "the index of one of \(row.rollout.tokenIDs.count) tokens, or -1")
        },
    ]

    private static func perToken(_ column: String, _ count: @escaping @Sendable (BaseRow) -> Int?) -> RowRule<BaseRow> {
        .perToken(column, of: "token_ids", { $0.rollout.tokenIDs.count }, count)
    }

    private static func topP<Row>(_ value: @escaping @Sendable (Row) -> Float) -> RowRule<Row> {
        .rule("top_p") { row, column in
            let value = value(row)
            return value > 0 && value <= 1 ? nil : RowFault(column, "\(value)", "a number above 0 and at most 1")
        }
    }
}

extension ScoreRow {
    /// What is wrong with scores of a rollout of so many tokens; nil where nothing is. Lists that were not read are
    /// passed over.
    package func fault(tokens: Int) -> RowFault? {
        let lists: [(String, Int?)] = [
            ("entropy", entropy?.count), ("entropy_low", entropyLow?.count), ("entropy_high", entropyHigh?.count),
            ("old_logprobs", oldLogprobs?.count),
            ("reference_logprobs", referenceLogprobs?.count), ("values", values?.count),
            ("process_logprobs", processLogprobs?.count),
            ("process_reference_logprobs", processReferenceLogprobs?.count), ("reference_kl", referenceKL?.count),
            ("expected_q", expectedQ?.count),
            ("sum_p_squared", sumPSquared?.count),
        ]
        for (column, count) in lists {
            if let count, let fault = RowRule<ScoreRow>.perToken(column, count, tokens) { return fault }
        }
        return nil
    }

    /// Throws where the scores can't be those of this rollout, of which `token_ids` or `loss_mask` were read.
    package func require(_ rollout: RolloutRow, file: String) throws {
        let tokens = max(rollout.tokenIDs.count, rollout.lossMask.count)
        guard tokens > 0, let fault = fault(tokens: tokens) else { return }
        throw FormatError(
            file: file, place: "rollout '\(rolloutID)', column '\(fault.column)'", found: fault.found,
            expected: fault.expected,
            remedy: "Score this ingest directory again.")
    }
}
