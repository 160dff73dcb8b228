/// One column of a stage file: its name and type, and how it moves between a row and the file.
package struct Column<Row>: Sendable {
    package let name: String
    package let type: ArrowType
    package let nullable: Bool
    let write: @Sendable (Row, inout ColumnBuilder) -> Void
    let read: @Sendable (inout Row, ColumnData, Int) -> Void

    var field: ArrowField { ArrowField(name: name, type: type, nullable: nullable) }
}

/// Key paths of stored properties carry nothing that threads could fight over.
package typealias Path<Row, Value> = WritableKeyPath<Row, Value> & Sendable

extension Column {
    @inline(__always)
    private static func make<V>(
        _ name: String, _ type: ArrowType, _ path: any Path<Row, V>,
        _ append: @escaping @Sendable (inout ColumnBuilder, V) -> Void,
        _ value: @escaping @Sendable (ColumnData, Int) -> V?
    ) -> Column {
        Column(
            name: name, type: type, nullable: false, write: { append(&$1, $0[keyPath: path]) },
            read: { row, data, index in if let value = value(data, index) { row[keyPath: path] = value } })
    }

    @inline(__always)
    private static func optional<V>(
        _ name: String, _ type: ArrowType, _ path: any Path<Row, V?>,
        _ append: @escaping @Sendable (inout ColumnBuilder, V?) -> Void,
        _ value: @escaping @Sendable (ColumnData, Int) -> V?
    ) -> Column {
        Column(
            name: name, type: type, nullable: true, write: { append(&$1, $0[keyPath: path]) },
            read: { $0[keyPath: path] = value($1, $2) })
    }

    @inline(__always)
    package static func utf8(_ name: String, _ path: any Path<Row, String>) -> Column {
        make(name, .utf8, path, { $0.append($1) }, { $0.string($1) })
    }
    @inline(__always)
    package static func utf8(_ name: String, _ path: any Path<Row, String?>) -> Column {
        optional(name, .utf8, path, { $0.append($1) }, { $0.string($1) })
    }
    @inline(__always)
    package static func bool(_ name: String, _ path: any Path<Row, Bool?>) -> Column {
        optional(name, .bool, path, { $0.append($1) }, { $0.bool($1) })
    }
    @inline(__always)
    package static func int32(_ name: String, _ path: any Path<Row, Int32>) -> Column {
        make(name, .int32, path, { $0.append($1) }, { $0.value($1, as: Int32.self) })
    }
    @inline(__always)
    package static func int32(_ name: String, _ path: any Path<Row, Int32?>) -> Column {
        optional(name, .int32, path, { $0.append($1) }, { $0.value($1, as: Int32.self) })
    }
    @inline(__always)
    package static func int64(_ name: String, _ path: any Path<Row, Int64>) -> Column {
        make(name, .int64, path, { $0.append($1) }, { $0.value($1, as: Int64.self) })
    }
    @inline(__always)
    package static func float32(_ name: String, _ path: any Path<Row, Float>) -> Column {
        make(name, .float32, path, { $0.append($1) }, { $0.value($1, as: Float.self) })
    }
    @inline(__always)
    package static func float32(_ name: String, _ path: any Path<Row, Float?>) -> Column {
        optional(name, .float32, path, { $0.append($1) }, { $0.value($1, as: Float.self) })
    }
    @inline(__always)
    package static func float64(_ name: String, _ path: any Path<Row, Double>) -> Column {
        make(name, .float64, path, { $0.append($1) }, { $0.value($1, as: Double.self) })
    }
    @inline(__always)
    package static func float64(_ name: String, _ path: any Path<Row, Double?>) -> Column {
        optional(name, .float64, path, { $0.append($1) }, { $0.value($1, as: Double.self) })
    }
    @inline(__always)
    package static func listInt32(_ name: String, _ path: any Path<Row, [Int32]>) -> Column {
        make(name, .list(.int32), path, { $0.append(list: $1) }, { $0.list($1, of: Int32.self) })
    }
    @inline(__always)
    package static func listInt32(_ name: String, _ path: any Path<Row, [Int32]?>) -> Column {
        optional(name, .list(.int32), path, { $0.append(list: $1) }, { $0.list($1, of: Int32.self) })
    }
    @inline(__always)
    package static func listBool(_ name: String, _ path: any Path<Row, [Bool]>) -> Column {
        make(name, .list(.bool), path, { $0.append(bits: $1) }, { $0.bools($1) })
    }
    @inline(__always)
    package static func listFloat32(_ name: String, _ path: any Path<Row, [Float]>) -> Column {
        make(name, .list(.float32), path, { $0.append(list: $1) }, { $0.list($1, of: Float.self) })
    }
    @inline(__always)
    package static func listFloat32(_ name: String, _ path: any Path<Row, [Float]?>) -> Column {
        optional(name, .list(.float32), path, { $0.append(list: $1) }, { $0.list($1, of: Float.self) })
    }
}

/// A stage file's columns and how to begin a row.
package struct Table<Row>: Sendable {
    package let name: String
    package let columns: [Column<Row>]
    package let make: @Sendable () -> Row
    /// Roughly how many bytes a row adds to a batch: batches are cut by it, so files have the same bytes on every run.
    let weight: @Sendable (Row) -> Int
    /// The command that writes it, and may be run again where a file of it is damaged.
    let writer: String
    /// What a row is called in messages.
    var nameOf: (@Sendable (Row) -> String)?
    /// What all its rows keep.
    var rules: [RowRule<Row>] = []

    package func adding(_ more: [Column<Row>]) -> Table {
        Table(
            name: name, columns: columns + more, make: make, weight: weight, writer: writer, nameOf: nameOf,
            rules: rules)
    }

    /// What to do about a damaged file.
    var remedy: String { "Run \(writer) again with --overwrite." }
}

/// Every table of the contract, written down once: names, types and order. A newcomer adds a column as one line.
package enum Tables {
    package static let rollouts = Table<RolloutRow>(
        name: "rollouts",
        columns: [
            .utf8("rollout_id", \.rolloutID),
            .utf8("group_id", \.groupID),
            .int32("sample_index", \.sampleIndex),
            .utf8("policy_version", \.policyVersion),
            .utf8("prompt", \.prompt),
            .utf8("completion", \.completion),
            .utf8("reference_answer", \.referenceAnswer),
            .utf8("data_source", \.dataSource),
            .utf8("finish_reason", \.finishReason),
            .float32("temperature", \.temperature),
            .float32("top_p", \.topP),
            .listInt32("token_ids", \.tokenIDs),
            .listBool("loss_mask", \.lossMask),
            .listFloat32("rollout_logprobs", \.rolloutLogprobs),
            .utf8("evidence", \.evidence),
            .utf8("logits_path", \.logitsPath),
            .int64("logits_offset", \.logitsOffset),
            .int64("logits_length", \.logitsLength),
            .float32("given_reward", \.givenReward),
            .utf8("job_id", \.jobID),
            .utf8("extras", \.extras),
        ],
        make: { RolloutRow() }, weight: { $0.tokenIDs.count }, writer: "crux-ingest",
        nameOf: { "rollout '\($0.rolloutID)'" },
        rules: RowRules.rollouts)

    package static let rejected = Table<RejectedRow>(
        name: "rejected",
        columns: [
            .utf8("shard", \.shard),
            .int64("frame_index", \.frameIndex),
            .int64("frame_offset", \.frameOffset),
            .utf8("rollout_id", \.rolloutID),
            .utf8("reason", \.reason),
            .utf8("detail", \.detail),
        ],
        make: { RejectedRow() }, weight: { _ in 16 }, writer: "crux-ingest")

    package static let scores = Table<ScoreRow>(
        name: "scores",
        columns: [
            .utf8("rollout_id", \.rolloutID),
            .float32("reward", \.reward),
            .bool("correct", \.correct),
            .utf8("verdict", \.verdict),
            .utf8("extracted", \.extracted),
            .listFloat32("entropy", \.entropy),
            .listFloat32("entropy_low", \.entropyLow),
            .listFloat32("entropy_high", \.entropyHigh),
            .listFloat32("old_logprobs", \.oldLogprobs),
            .listFloat32("reference_logprobs", \.referenceLogprobs),
            .listFloat32("values", \.values),
            .listFloat32("process_logprobs", \.processLogprobs),
            .listFloat32("process_reference_logprobs", \.processReferenceLogprobs),
            .listFloat32("reference_kl", \.referenceKL),
            .listFloat32("expected_q", \.expectedQ),
            .utf8("evidence", \.evidence),
            .int32("evidence_top_k", \.evidenceTopK),
        ],
        make: { ScoreRow() },
        weight: { ($0.entropy?.count ?? $0.oldLogprobs?.count ?? 16) + ($0.topkTokenIDs?.count ?? 0) },
        writer: "crux-score", nameOf: { "rollout '\($0.rolloutID)'" }, rules: RowRules.scores)

    /// Columns of scores that are there only when asked for.
    package static let sumPSquared = Column<ScoreRow>.listFloat32("sum_p_squared", \.sumPSquared)
    package static let topK = [
        Column<ScoreRow>.listInt32("topk_token_ids", \.topkTokenIDs), .listFloat32("topk_logprobs", \.topkLogprobs),
    ]

    package static let plan = Table<PlanRow>(
        name: "plan",
        columns: [
            .utf8("rollout_id", \.rolloutID),
            .utf8("group_id", \.groupID),
            .listInt32("token_ids", \.tokenIDs),
            .listBool("loss_mask", \.lossMask),
            .listFloat32("advantages", \.advantages),
            .listBool("entropy_mask", \.entropyMask),
            .listFloat32("token_weights", \.tokenWeights),
            .listFloat32("old_logprobs", \.oldLogprobs),
            .listFloat32("reference_logprobs", \.referenceLogprobs),
            .int32("step", \.step),
            .float32("reward", \.reward),
            .float32("temperature", \.temperature),
            .listFloat32("kl_weights", \.klWeights),
            .listFloat32("returns", \.returns),
            .listFloat32("values", \.values),
            .int32("pair", \.pair),
            .utf8("evidence", \.evidence),
        ],
        make: { PlanRow() }, weight: { $0.tokenIDs.count }, writer: "crux-plan",
        nameOf: { "rollout '\($0.rolloutID)'" }, rules: RowRules.plan)

    package static let jobs = Table<JobRow>(
        name: "jobs",
        columns: [
            .utf8("job_id", \.jobID),
            .utf8("custom_id", \.customID),
            .utf8("base_rollout_id", \.baseRolloutID),
            .utf8("group_id", \.groupID),
            .int32("state_index", \.stateIndex),
            .int32("anchor_position", \.anchorPosition),
            .float32("anchor_entropy", \.anchorEntropy),
            .int32("prefix_length", \.prefixLength),
            .utf8("prefix_sha256", \.prefixSHA256),
            .int32("replicate", \.replicate),
            .int64("seed", \.seed),
            .int32("max_tokens", \.maxTokens),
            .listInt32("injected_token_ids", \.injectedTokenIDs),
            .utf8("completion_prefix", \.completionPrefix),
        ],
        make: { JobRow() }, weight: { 32 + ($0.completionPrefix?.utf8.count ?? 0) }, writer: "crux-plan",
        nameOf: { "job '\($0.jobID)'" },
        rules: RowRules.jobs)

    package static let bases = Table<BaseRow>(
        name: "bases",
        columns: [
            .utf8("rollout_id", \.rollout.rolloutID),
            .utf8("group_id", \.rollout.groupID),
            .utf8("policy_version", \.rollout.policyVersion),
            .utf8("prompt", \.rollout.prompt),
            .utf8("completion", \.rollout.completion),
            .utf8("reference_answer", \.rollout.referenceAnswer),
            .utf8("data_source", \.rollout.dataSource),
            .utf8("finish_reason", \.rollout.finishReason),
            .float32("temperature", \.rollout.temperature),
            .float32("top_p", \.rollout.topP),
            .listInt32("token_ids", \.rollout.tokenIDs),
            .listBool("loss_mask", \.rollout.lossMask),
            .listFloat32("rollout_logprobs", \.rollout.rolloutLogprobs),
            .utf8("evidence", \.rollout.evidence),
            .float32("reward", \.reward),
            .bool("correct", \.correct),
            .listFloat32("entropy", \.entropy),
            .listFloat32("old_logprobs", \.oldLogprobs),
            .listFloat32("reference_logprobs", \.referenceLogprobs),
            .listInt32("state_positions", \.statePositions),
            .int32("thought_end", \.thoughtEnd),
        ],
        make: { BaseRow() }, weight: { $0.rollout.tokenIDs.count }, writer: "crux-plan",
        nameOf: { "rollout '\($0.rollout.rolloutID)'" },
        rules: RowRules.bases)

    package static let dropped = Table<DroppedRow>(
        name: "dropped",
        columns: [.utf8("rollout_id", \.rolloutID), .utf8("group_id", \.groupID), .utf8("reason", \.reason)],
        make: { DroppedRow() }, weight: { _ in 16 }, writer: "crux-plan")

    package static let metrics = Table<MetricsRow>(
        name: "metrics",
        columns: [
            .int32("step", \.step),
            .float64("loss", \.loss),
            .float64("grad_norm", \.gradNorm),
            .float64("clip_fraction_low", \.clipFractionLow),
            .float64("clip_fraction_high", \.clipFractionHigh),
            .float64("importance_ratio_max", \.importanceRatioMax),
            .float64("kl_k3", \.klK3),
            .float64("entropy", \.entropy),
            .float64("reward_mean", \.rewardMean),
            .int64("trainable_tokens", \.trainableTokens),
            .int64("evaluated_tokens", \.evaluatedTokens),
            .float64("seconds", \.seconds),
            .float64("reward_margin", \.rewardMargin),
            .float64("reward_accuracy", \.rewardAccuracy),
            .float64("value_error", \.valueError),
            .float64("target_divergence", \.targetDivergence),
        ],
        make: { MetricsRow() }, weight: { _ in 16 }, writer: "crux-update")

    package static let loop = Table<LoopRow>(
        name: "loop",
        columns: [
            .int32("iteration", \.iteration),
            .int64("prompts", \.prompts),
            .int64("rollouts", \.rollouts),
            .int64("sampled_tokens", \.sampledTokens),
            .int64("optimizer_steps", \.optimizerSteps),
            .float64("train_accuracy", \.trainAccuracy),
            .float64("reward_mean", \.rewardMean),
            .float64("entropy", \.entropy),
            .float64("completion_length", \.completionLength),
            .float64("grad_norm", \.gradNorm),
            .float64("heldout_accuracy", \.heldoutAccuracy),
            .float64("heldout_entropy", \.heldoutEntropy),
            .float64("heldout_length", \.heldoutLength),
            .float64("heldout_greedy_accuracy", \.heldoutGreedyAccuracy),
        ],
        make: { LoopRow() }, weight: { _ in 16 }, writer: "crux-loop")
}
