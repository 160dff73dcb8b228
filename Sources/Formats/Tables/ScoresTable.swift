import Arrow
import Files

/// What `score` adds to a rollout: same rows, same order.
package struct ScoreRow: Equatable, Sendable {
    package var rolloutID = ""
    package var reward: Float?
    package var correct: Bool?
    /// A `Verdict`'s word; in a file of another version whatever stands there.
    package internal(set) var verdict = ""
    package var extracted = ""
    /// Beside `reward`: `NamedRewards` as JSON.
    package var rewards: String?
    package var entropy: [Float]?
    package var entropyLow: [Float]?
    package var entropyHigh: [Float]?
    package var oldLogprobs: [Float]?
    package var referenceLogprobs: [Float]?
    /// Under a teacher, which may have read another prompt.
    package var teacherLogprobs: [Float]?
    /// What the teacher of `crux-score --teacher` read.
    package var teacherPrompt: String?
    package var values: [Float]?
    /// log-probabilities under an implicit reward model and under its reference.
    package var processLogprobs: [Float]?
    package var processReferenceLogprobs: [Float]?
    /// Over the whole vocabulary, of the state before the token: KL(policy || reference) and Σ π Q.
    package var referenceKL: [Float]?
    package var expectedQ: [Float]?
    /// What the entropy really came from; null in tables of earlier versions.
    package var evidence: String?
    /// How many best log-probabilities of each token an interval rests on.
    package var evidenceTopK: Int32?
    /// Where asked for: Σ p², and the k most likely tokens of each position, [L * k] (-1 where fewer are possible).
    package var sumPSquared: [Float]?
    package var topkTokenIDs: [Int32]?
    package var topkLogprobs: [Float]?
    package init() {}

    /// Says how the reward came about, or why the row can't be used.
    package mutating func setVerdict(_ verdict: Verdict) { self.verdict = verdict.rawValue }
}

extension Tables {
    package static let scores = Table<ScoreRow>(
        name: "scores",
        documentation: """
            What crux-score says of one rollout: same rows in the same order as the rollouts-%05d.arrow of the same \
            number.
            """,
        columns: [
            .utf8("rollout_id", \.rolloutID, "name of the rollout"),
            .float32("reward", \.reward, "reward of the response; null where none could be given"),
            .bool(
                "correct", \.correct, "whether the response answers its question; null where the reward does not tell"),
            .utf8(
                "verdict", \.verdict,
                "how the reward came about, in one word, or why the row can't be used; the words are below"),
            .utf8("extracted", \.extracted, "the answer found in the response; empty where none was"),
            .utf8(
                "rewards", \.rewards,
                """
                JSON object: rewards by name, which the dump's metadata state or judges gave, beside reward; null where \
                there are none
                """),
            .listFloat32(
                "entropy", \.entropy,
                """
                per token, nats: entropy of the distribution the token was sampled from, with top-k evidence the \
                middle of its bounds, 0 outside the loss mask; null where unknown
                """),
            .listFloat32(
                "entropy_low", \.entropyLow, "per token, nats: proven lower bound; null unless the evidence is topk"),
            .listFloat32(
                "entropy_high", \.entropyHigh, "per token, nats: proven upper bound; null unless the evidence is topk"),
            .listFloat32(
                "old_logprobs", \.oldLogprobs,
                """
                per token, nats: log-probability of the token under the policy that sampled it, 0 outside the loss \
                mask; null where unknown
                """),
            .listFloat32(
                "reference_logprobs", \.referenceLogprobs,
                "per token, nats: log-probability under the reference model; null without one"),
            .listFloat32(
                "teacher_logprobs", \.teacherLogprobs,
                """
                per token, nats: log-probability under a teacher, which --teacher gave or else the dump; null without \
                one, and plans take the reference for it then
                """),
            .utf8(
                "teacher_prompt", \.teacherPrompt,
                """
                what the teacher of --teacher read before the response: own (the policy's prompt), ids or text (the \
                dump's), demonstration or answer (--privileged); null without one
                """),
            .listFloat32(
                "values", \.values,
                "per token: the critic's value of the state before the token; null without a critic"),
            .listFloat32(
                "process_logprobs", \.processLogprobs,
                "per token, nats: log-probability under an implicit process reward model; null without one"),
            .listFloat32(
                "process_reference_logprobs", \.processReferenceLogprobs,
                "per token, nats: log-probability under that model's reference; null without one"),
            .listFloat32(
                "reference_kl", \.referenceKL,
                """
                per token, nats: KL(policy || reference) of the state before the token, over the whole vocabulary; \
                null unless asked for
                """),
            .listFloat32(
                "expected_q", \.expectedQ,
                "per token: Σ π Q of the state before the token, over the whole vocabulary; null without a Q network"),
            .utf8(
                "evidence", \.evidence,
                "what the entropy really came from: \(EntropySource.list); null in tables of earlier versions"),
            .int32(
                "evidence_top_k", \.evidenceTopK,
                "how many best log-probabilities per token the bounds rest on; null unless the evidence is topk"),
        ],
        make: { ScoreRow() },
        weight: { ($0.entropy?.count ?? $0.oldLogprobs?.count ?? 16) + ($0.topkTokenIDs?.count ?? 0) },
        writer: "crux-score", nameOf: { "rollout '\($0.rolloutID)'" }, rules: rules)

    /// Columns that are there only when asked for.
    package static let sumPSquared = Column<ScoreRow>.listFloat32(
        "sum_p_squared", \.sumPSquared,
        "per token: Σ p² of its distribution; only with --sum-p-squared, null where unknown")
    package static let topK = [
        Column<ScoreRow>.listInt32(
            "topk_token_ids", \.topkTokenIDs,
            "the k likeliest tokens of each position, L · k of them, -1 where fewer are possible; only with --top-k"),
        .listFloat32(
            "topk_logprobs", \.topkLogprobs,
            "nats: their log-probabilities, L · k of them, -inf where fewer are possible; only with --top-k"),
    ]

    /// Lists are held to the tokens where both tables are read: see `ScoreRow.fault(tokens:)`.
    private static let rules: [RowRule<ScoreRow>] = [
        .named("rollout_id") { $0.rolloutID },
        .finite("reward") { $0.reward },
        .evidence("evidence") { $0.evidence },
        .rule("topk_logprobs") { row, column in
            let ids = row.topkTokenIDs?.count ?? 0, logprobs = row.topkLogprobs?.count ?? ids
            return ids == logprobs
                ? nil : RowFault(column, "\(logprobs) entries in \(column)", "\(ids), one for each of topk_token_ids")
        },
    ]
}

extension ScoreRow {
    /// What is wrong with scores of a rollout of so many tokens; nil where nothing is. Lists that were not read are
    /// passed over.
    package func fault(tokens: Int) -> RowFault? {
        let lists: [(String, Int?)] = [
            ("entropy", entropy?.count), ("entropy_low", entropyLow?.count), ("entropy_high", entropyHigh?.count),
            ("old_logprobs", oldLogprobs?.count),
            ("reference_logprobs", referenceLogprobs?.count), ("teacher_logprobs", teacherLogprobs?.count),
            ("values", values?.count),
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
