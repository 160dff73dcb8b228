import Arrow

/// What `crux-ingest --score` found in a rollout's logits while it validated them, so that `crux-score` need not decode
/// them again.
package struct MeasureRow: Equatable, Sendable {
    package var rolloutID = ""
    package var vocabulary: Int32 = 0
    package var entropy: [Float] = []
    package var logprobs: [Float] = []
    package var values: [Float]?
    package var referenceLogprobs: [Float]?
    package var teacherLogprobs: [Float]?
    /// Why the rollout can't be used, as a verdict.
    package var invalid: String?
    /// What rounding logits to their type has moved: `StorageError` as JSON.
    package var storage = ""
    package init() {}
}

extension Tables {
    package static let measures = Table<MeasureRow>(
        name: "measures",
        documentation: """
            What crux-ingest --score found in one rollout's logits while it validated them; crux-score takes it from \
            here instead of decoding the dump again. One table for each rollouts table, joined by rollout_id.
            """,
        columns: [
            .utf8("rollout_id", \.rolloutID, "name of the rollout"),
            .int32("vocabulary", \.vocabulary, "width of its logits"),
            .listFloat32("entropy", \.entropy, "per token, nats: entropy of the distribution; 0 outside of loss_mask"),
            .listFloat32("logprobs", \.logprobs, "per token, nats: log-probability of the token by its logits"),
            .listFloat32("values", \.values, "per token: a critic's values, where the dump has them"),
            .listFloat32(
                "reference_logprobs", \.referenceLogprobs,
                "per token, nats: under the reference model, where the dump has them"),
            .listFloat32(
                "teacher_logprobs", \.teacherLogprobs,
                "per token, nats: under a teacher, where the dump has them"),
            .utf8("invalid", \.invalid, "verdict of a rollout that can't be used; null for others"),
            .utf8("storage_error", \.storage, "JSON: sums of what rounding the logits to their type has moved"),
        ],
        make: { MeasureRow() }, weight: { $0.entropy.count }, writer: "crux-ingest",
        nameOf: { "rollout '\($0.rolloutID)'" },
        rules: [
            .named("rollout_id") { $0.rolloutID },
            .perToken("logprobs", of: "entropy", { $0.entropy.count }, { $0.logprobs.count }),
            .perToken("values", of: "entropy", { $0.entropy.count }, { $0.values?.count }),
            .perToken("teacher_logprobs", of: "entropy", { $0.entropy.count }, { $0.teacherLogprobs?.count }),
            .perToken("reference_logprobs", of: "entropy", { $0.entropy.count }, { $0.referenceLogprobs?.count }),
        ])
}
