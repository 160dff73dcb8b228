import Arrow

/// One continuation to be sampled: the j-th state of a base rollout, once per replicate.
package struct JobRow: Equatable, Sendable {
    /// Readable and unique: base, state and replicate. What a joined rollout says of itself.
    package var jobID = ""
    /// At most 64 characters of [A-Za-z0-9._-]: what engines hand back.
    package var customID = ""
    package var baseRolloutID = ""
    package var groupID = ""
    package var stateIndex: Int32 = 0
    /// Index in the base's `token_ids` of the first token to be sampled anew.
    package var anchorPosition: Int32 = 0
    /// Entropy of the anchor token, where the base's is known; null for state 0.
    package var anchorEntropy: Float?
    package var prefixLength: Int32 = 0
    package var prefixSHA256 = ""
    package var replicate: Int32 = 0
    package var seed: Int64 = 0
    package var maxTokens: Int32 = 0
    /// Tokens put behind the base's own at the prefix's end (S-GRPO's inducer).
    package var injectedTokenIDs: [Int32] = []
    /// Text of the response as far as the prefix goes; null without a tokenizer.
    package var completionPrefix: String?
    package init() {}
}

extension Tables {
    package static let jobs = Table<JobRow>(
        name: "jobs",
        documentation: """
            One continuation that an engine is asked for: a state of a base rollout, once per replicate. Joins results \
            by custom_id.
            """,
        columns: [
            .utf8(
                "job_id", \.jobID,
                "name of the job, from base, state and replicate; what a joined rollout says of itself"),
            .utf8("custom_id", \.customID, "name that engines hand back: at most 64 characters of [A-Za-z0-9._-]"),
            .utf8("base_rollout_id", \.baseRolloutID, "rollout that the state was taken from"),
            .utf8("group_id", \.groupID, "group of that rollout"),
            .int32("state_index", \.stateIndex, "number of the state within its base; 0 is the prompt itself"),
            .int32(
                "anchor_position", \.anchorPosition,
                "index in the base's token_ids of the first token to be sampled anew"),
            .float32(
                "anchor_entropy", \.anchorEntropy,
                "nats: entropy of the base's token at the anchor; null for state 0, and where it is unknown"),
            .int32("prefix_length", \.prefixLength, "tokens of the prefix, injected ones included"),
            .utf8(
                "prefix_sha256", \.prefixSHA256,
                "SHA-256 of the prefix's ids as little-endian int32, in lower-case hex"),
            .int32("replicate", \.replicate, "number of the continuation among those of its state, from 0"),
            .int64("seed", \.seed, "seed that the request carries"),
            .int32("max_tokens", \.maxTokens, "tokens that may be sampled"),
            .listInt32(
                "injected_token_ids", \.injectedTokenIDs,
                "tokens put behind the base's own at the prefix's end; empty for most methods"),
            .utf8(
                "completion_prefix", \.completionPrefix,
                "text of the response as far as the prefix goes; null without a tokenizer"),
        ],
        make: { JobRow() }, weight: { 32 + ($0.completionPrefix?.utf8.count ?? 0) }, writer: "crux-plan",
        nameOf: { "job '\($0.jobID)'" },
        rules: rules)

    /// What every reader holds a row to.
    private static let rules: [RowRule<JobRow>] = [
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
}
