import Arrow

/// A base rollout with the states that were made of it: what a second plan needs beside the jobs' results.
package struct BaseRow: Equatable, Sendable {
    package var rollout = RolloutRow()
    package var reward: Float?
    package var correct: Bool?
    package var entropy: [Float]?
    package var oldLogprobs: [Float]?
    package var referenceLogprobs: [Float]?
    /// Lengths of the states' prefixes within `token_ids`, state 0 (the prompt) first.
    package var statePositions: [Int32] = []
    /// Index of the token that ends the thinking, for methods that cut it short; -1 where there is none.
    package var thoughtEnd: Int32 = -1
    /// The rollout that an earlier round of branching sampled it from; nil for one that began at the prompt.
    package var parentRolloutID: String?
    /// Index of its first token that isn't the other's.
    package var branchPosition: Int32?
    /// What the dump said besides, where a later round needs to know it.
    package var extras: String?
    package init() {}
}

extension Tables {
    package static let bases = Table<BaseRow>(
        name: "bases",
        documentation: """
            One base rollout of an expansion, with its scores and the states that were made of it: a second plan needs \
            nothing else of the first.
            """,
        columns: [
            .utf8("rollout_id", \.rollout.rolloutID, "name of the rollout"),
            .utf8("group_id", \.rollout.groupID, "name of its group"),
            .utf8("policy_version", \.rollout.policyVersion, "name of the weights that sampled it"),
            .utf8("prompt", \.rollout.prompt, "text of the prompt"),
            .utf8("completion", \.rollout.completion, "text of the response"),
            .utf8(
                "reference_answer", \.rollout.referenceAnswer,
                "what rewards compare the response with; empty where there is none"),
            .utf8("data_source", \.rollout.dataSource, "name of the data set; empty where there is none"),
            .utf8("finish_reason", \.rollout.finishReason, "why sampling ended, in the engine's word"),
            .float32("temperature", \.rollout.temperature, "of sampling"),
            .float32("top_p", \.rollout.topP, "of sampling"),
            .listInt32("token_ids", \.rollout.tokenIDs, "prompt and response, token by token"),
            .listBool("loss_mask", \.rollout.lossMask, "per token: it was sampled by the policy"),
            .listFloat32(
                "rollout_logprobs", \.rollout.rolloutLogprobs,
                "per token, nats: log-probability the sampler gave the token; null where unknown"),
            .utf8("evidence", \.rollout.evidence, "how well the distributions are known: \(EntropySource.list)"),
            .float32("reward", \.reward, "reward of the response; null where none could be given"),
            .bool(
                "correct", \.correct, "whether the response answers its question; null where the reward does not tell"),
            .listFloat32(
                "entropy", \.entropy,
                "per token, nats: entropy of the distribution the token was sampled from; null where unknown"),
            .listFloat32(
                "old_logprobs", \.oldLogprobs,
                "per token, nats: log-probability under the policy that sampled it; null where unknown"),
            .listFloat32(
                "reference_logprobs", \.referenceLogprobs,
                "per token, nats: log-probability under the reference model; null without one"),
            .listInt32(
                "state_positions", \.statePositions,
                "tokens of each state's prefix within token_ids, state 0 (the prompt) first"),
            .int32("thought_end", \.thoughtEnd, "index of the token that ends the thinking; -1 where there is none"),
            .utf8(
                "parent_rollout_id", \.parentRolloutID,
                "rollout that an earlier round sampled this one from; null where it began at the prompt"),
            .int32(
                "branch_position", \.branchPosition,
                "index of its first token that isn't the parent's; null where it began at the prompt"),
            .utf8(
                "extras", \.extras,
                "metadata of the rollout as JSON, from which later rounds take what ends a continuation; null where none follow"
            ),
        ],
        make: { BaseRow() }, weight: { $0.rollout.tokenIDs.count }, writer: "crux-plan",
        nameOf: { "rollout '\($0.rollout.rolloutID)'" },
        rules: rules)

    /// What every reader holds a row to.
    private static let rules: [RowRule<BaseRow>] = [
        .named("rollout_id") { $0.rollout.rolloutID },
        .named("group_id") { $0.rollout.groupID },
        .tokens("token_ids") { $0.rollout.tokenIDs },
        perToken("loss_mask") { $0.rollout.lossMask.count },
        .mask("loss_mask") { $0.rollout.lossMask },
        .trainable("loss_mask") { $0.rollout.lossMask },
        .positive("temperature") { $0.rollout.temperature },
        .topP { $0.rollout.topP },
        .evidence("evidence") { $0.rollout.evidence },
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
        .rule("branch_position") { row, column in
            guard (row.branchPosition == nil) == (row.parentRolloutID == nil) else {
                return RowFault(
                    column, row.branchPosition.map { "\($0)" } ?? "null",
                    "a place and a parent_rollout_id, or neither")
            }
            guard let place = row.branchPosition, !(0..<Int32(row.rollout.tokenIDs.count)).contains(place) else {
                return nil
            }
            return RowFault(column, "\(place)", "the index of one of \(row.rollout.tokenIDs.count) tokens")
        },
    ]

    private static func perToken(_ column: String, _ count: @escaping @Sendable (BaseRow) -> Int?) -> RowRule<BaseRow> {
        .perToken(column, of: "token_ids", { $0.rollout.tokenIDs.count }, count)
    }
}
