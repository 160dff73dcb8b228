import Arrow

/// One rollout to learn from. `klWeights` is filled only when a KL term is on: the aggregation weights without the
/// entropy mask, because the mask acts on the policy gradient alone.
package struct PlanRow: Equatable, Sendable {
    package var rolloutID = ""
    package var groupID = ""
    package var tokenIDs: [Int32] = []
    package var lossMask: [Bool] = []
    package var advantages: [Float] = []
    package var entropyMask: [Bool] = []
    package var tokenWeights: [Float] = []
    package var oldLogprobs: [Float] = []
    package var referenceLogprobs: [Float]?
    package var klWeights: [Float]?
    /// Weights of an entropy bonus, and of a likelihood beside the objective.
    package var entropyWeights: [Float]?
    package var auxiliaryWeights: [Float]?
    /// As the sampler wrote them, where the update compares with the sampler.
    package var rolloutLogprobs: [Float]?
    /// Where the update holds a teacher against the policy as it stands.
    package var teacherLogprobs: [Float]?
    /// What a critic or Q network is to learn, and the critic's values now.
    package var returns: [Float]?
    package var values: [Float]?
    /// Chosen and rejected response carry the same number, chosen first.
    package var pair: Int32?
    /// Tokens that the sampler could have drawn, as in the rollouts' table.
    package var supportTokenIDs: [Int32]?
    package var supportOffsets: [Int32]?
    package var routedExperts: [UInt16]?
    package var routedExpertsShape: [Int32]?
    package var temperature: Float = 1
    package var step: Int32 = 0
    package var reward: Float = 0
    /// What the rollout's entropies came from.
    package var evidence: String?
    package init() {}
}

extension PlanRow {
    /// Which tokens could have been drawn; nil is all of the vocabulary.
    package var routes: RoutedExperts? {
        get { RoutedExperts(routedExperts, shape: routedExpertsShape) }
        set { (routedExperts, routedExpertsShape) = (newValue?.values, newValue?.shape) }
    }

    package var support: SamplingSupport? {
        get {
            guard let supportTokenIDs, let supportOffsets else { return nil }
            return SamplingSupport(tokenIDs: supportTokenIDs, offsets: supportOffsets)
        }
        set { (supportTokenIDs, supportOffsets) = (newValue?.tokenIDs, newValue?.offsets) }
    }
}

extension Tables {
    package static let plan = Table<PlanRow>(
        name: "plan",
        documentation: """
            One rollout to learn from, with everything the update needs of it: tokens, advantages, weights and old \
            log-probabilities.
            """,
        columns: [
            .utf8("rollout_id", \.rolloutID, "name of the rollout"),
            .utf8("group_id", \.groupID, "name of its group"),
            .listInt32(
                "token_ids", \.tokenIDs,
                "prompt and response, token by token; every list of one entry per token has this length"),
            .listBool("loss_mask", \.lossMask, "per token: it was sampled by the policy"),
            .listFloat32("advantages", \.advantages, "per token: advantage, 0 outside the loss mask"),
            .listBool("entropy_mask", \.entropyMask, "per token: the policy gradient is taken of it"),
            .listFloat32(
                "token_weights", \.tokenWeights,
                "per token: factor of its loss; a step's loss is the sum over tokens of factor times loss"),
            .listFloat32(
                "old_logprobs", \.oldLogprobs,
                "per token, nats: log-probability under the policy that sampled it, 0 outside the loss mask"),
            .listFloat32(
                "reference_logprobs", \.referenceLogprobs,
                "per token, nats: log-probability under the reference model; null where nothing compares with one"),
            .int32("step", \.step, "number of the optimizer step, from 0, that the row belongs to"),
            .float32("reward", \.reward, "the rollout's reward, shaped as the recipe asks"),
            .float32("temperature", \.temperature, "of sampling: logits are divided by it before the softmax"),
            .listFloat32(
                "kl_weights", \.klWeights,
                "per token: factor of its KL term, which the entropy mask does not touch; null without a KL term"),
            .listFloat32(
                "entropy_weights", \.entropyWeights,
                "per token: factor of its entropy in the recipe's bonus (entropy.bonus); null without one"),
            .listFloat32(
                "auxiliary_weights", \.auxiliaryWeights,
                """
                per token: factor of its log-probability in the likelihood beside the objective (objective.auxiliary); \
                null without one
                """),
            .listFloat32(
                "rollout_logprobs", \.rolloutLogprobs,
                """
                per token, nats: log-probability as the sampler wrote it; null unless objective.drop_stale compares \
                with the sampler
                """),
            .listFloat32(
                "teacher_logprobs", \.teacherLogprobs,
                """
                per token, nats: log-probability under a teacher that the update holds against the policy as it stands \
                (advantage.teacher.policy: current); null where it doesn't
                """),
            .listFloat32("returns", \.returns, "per token: what a critic or Q network is to learn; null without one"),
            .listFloat32(
                "values", \.values, "per token: the critic's value when the rollout was scored; null without a critic"),
            .int32(
                "pair", \.pair,
                """
                number of a preference pair, shared by its two rows, the chosen one first; null where the recipe makes \
                no pairs
                """),
            .listInt32(
                "support_token_ids", \.supportTokenIDs,
                """
                tokens that the sampler could have drawn, trainable token by trainable token: log-probabilities are of \
                the softmax over these; null where it could draw all
                """),
            .listInt32(
                "support_offsets", \.supportOffsets,
                """
                where in support_token_ids each trainable token's begin, and behind the last; nothing between two is \
                the whole vocabulary
                """),
            .listUInt16(
                "routed_experts", \.routedExperts,
                """
                which experts the sampler's routers chose, token by token of those that were an input, layer by layer; \
                null where the dump does not say
                """),
            .listInt32(
                "routed_experts_shape", \.routedExpertsShape,
                "rows, layers, experts of a token and first token of routed_experts; null beside null"),
            .utf8(
                "evidence", \.evidence,
                "what the rollout's entropies came from: \(EntropySource.list); null in tables of earlier versions"),
        ],
        make: { PlanRow() }, weight: { RoutedExperts.weight($0.routedExperts, beside: $0.tokenIDs.count) },
        writer: "crux-plan",
        nameOf: { "rollout '\($0.rolloutID)'" }, rules: rules)

    /// What every reader holds a row to.
    private static let rules: [RowRule<PlanRow>] = [
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
        perToken("entropy_weights") { $0.entropyWeights?.count },
        perToken("auxiliary_weights") { $0.auxiliaryWeights?.count },
        perToken("rollout_logprobs") { $0.rolloutLogprobs?.count },
        perToken("teacher_logprobs") { $0.teacherLogprobs?.count },
        perToken("returns") { $0.returns?.count },
        perToken("values") { $0.values?.count },
        .support { ($0.support, $0.tokenIDs, $0.lossMask) },
        .routes { ($0.routedExperts, $0.routedExpertsShape, tokens: $0.tokenIDs.count) },
        .allFinite("advantages") { $0.advantages },
        .allFinite("token_weights") { $0.tokenWeights },
        .allFinite("old_logprobs") { $0.oldLogprobs },
        .allFinite("kl_weights") { $0.klWeights },
        .allFinite("entropy_weights") { $0.entropyWeights },
        .allFinite("auxiliary_weights") { $0.auxiliaryWeights },
        .allFinite("returns") { $0.returns },
        .noNaN("reference_logprobs") { $0.referenceLogprobs },
        .noNaN("teacher_logprobs") { $0.teacherLogprobs },
        .noNaN("values") { $0.values },
        .positive("temperature") { $0.temperature },
        .atLeast(0, "step") { $0.step },
        .atLeast(0, "pair") { $0.pair },
        .finite("reward") { $0.reward },
        .evidence("evidence") { $0.evidence },
    ]

    private static func perToken(_ column: String, _ count: @escaping @Sendable (PlanRow) -> Int?) -> RowRule<PlanRow> {
        .perToken(column, of: "token_ids", { $0.tokenIDs.count }, count)
    }
}
