import Arrow
import Foundation

/// One rollout as `ingest` leaves it.
package struct RolloutRow: Equatable, Sendable {
    package var rolloutID = ""
    package var groupID = ""
    package var sampleIndex: Int32 = 0
    package var policyVersion = ""
    package var prompt = ""
    package var completion = ""
    package var referenceAnswer = ""
    package var dataSource = ""
    package var finishReason = ""
    package var temperature: Float = 1
    package var topP: Float = 1
    package var tokenIDs: [Int32] = []
    package var lossMask: [Bool] = []
    package var rolloutLogprobs: [Float]?
    package var oldLogprobs: [Float]?
    package var advantages: [Float]?
    package var tokenRoles: [Int32]?
    package var supportTokenIDs: [Int32]?
    package var supportOffsets: [Int32]?
    package var routedExperts: [UInt16]?
    package var routedExpertsShape: [Int32]?
    package var evidence = EntropySource.none.rawValue
    package var logitsPath = ""
    package var logitsOffset: Int64 = 0
    package var logitsLength: Int64 = 0
    package var givenReward: Float?
    package var jobID: String?
    package var extras = "{}"
    package init() {}
}

extension RolloutRow {
    /// Which tokens could have been drawn; nil is all of the vocabulary.
    package var support: SamplingSupport? {
        get {
            guard let supportTokenIDs, let supportOffsets else { return nil }
            return SamplingSupport(tokenIDs: supportTokenIDs, offsets: supportOffsets)
        }
        set { (supportTokenIDs, supportOffsets) = (newValue?.tokenIDs, newValue?.offsets) }
    }

    /// Which experts the sampler chose; nil where the dump doesn't say.
    package var routes: RoutedExperts? {
        get { RoutedExperts(routedExperts, shape: routedExpertsShape) }
        set { (routedExperts, routedExpertsShape) = (newValue?.values, newValue?.shape) }
    }

    /// The sampler's log-probabilities as far as they are of the distribution that scores are of: where less than the
    /// vocabulary could be drawn, those over just that.
    package var comparableLogprobs: [Float]? {
        supportOffsets == nil || logprobKind == .support ? rolloutLogprobs : nil
    }

    /// nil where the dump doesn't say.
    package var logprobKind: LogprobKind? {
        guard extras.contains(LogprobKind.key) else { return nil }
        let values = try? JSONSerialization.jsonObject(with: Data(extras.utf8)) as? [String: Any]
        return (values?[LogprobKind.key] as? String).flatMap { LogprobKind(rawValue: $0) }
    }
}

extension Tables {
    package static let rollouts = Table<RolloutRow>(
        name: "rollouts",
        documentation: "One rollout of a dump, as crux-ingest read it; scores and plans refer to it by rollout_id.",
        columns: [
            .utf8("rollout_id", \.rolloutID, "name of the rollout, unique in the directory"),
            .utf8("group_id", \.groupID, "name of the group it is compared in: rollouts of one prompt"),
            .int32("sample_index", \.sampleIndex, "number of the rollout in its group, from 0"),
            .utf8(
                "policy_version", \.policyVersion,
                "name of the weights that sampled it; empty where the dump does not say"),
            .utf8("prompt", \.prompt, "text of the prompt; empty where only its ids are known"),
            .utf8("completion", \.completion, "text of the response; empty where only its ids are known"),
            .utf8(
                "reference_answer", \.referenceAnswer,
                "what rewards compare the response with; empty where there is none"),
            .utf8(
                "data_source", \.dataSource,
                "name of the data set, which `--reward auto` goes by; empty where there is none"),
            .utf8(
                "finish_reason", \.finishReason,
                """
                why sampling ended, in the engine's word, such as stop or length (known ones are below); empty where \
                the dump does not say
                """),
            .float32("temperature", \.temperature, "of sampling; 1 where the dump does not say"),
            .float32("top_p", \.topP, "of sampling; 1 where the dump does not say"),
            .listInt32(
                "token_ids", \.tokenIDs,
                "prompt and response, token by token: L of them; every list of one entry per token has this length"),
            .listBool(
                "loss_mask", \.lossMask,
                "per token: it was sampled by the policy and may be learned from; never the first token"),
            .listFloat32(
                "rollout_logprobs", \.rolloutLogprobs,
                """
                per token, nats: log-probability the sampler gave the token, 0 outside the loss mask; null where \
                unknown
                """),
            .listFloat32(
                "old_logprobs", \.oldLogprobs,
                """
                per token, nats: log-probability that the trainer which dumped it gave the token before its step, 0 \
                outside the loss mask; null where the dump does not say
                """),
            .listFloat32(
                "advantages", \.advantages,
                """
                per token: the advantage that the trainer which dumped it made of its rewards, 0 outside the loss \
                mask; null where the dump does not say
                """),
            .listInt32(
                "token_roles", \.tokenRoles,
                """
                per token, who wrote it: 0 prompt, 1 policy, 2 tool, 3 user, 4 system, 5 injected by the harness; null \
                where the dump does not say
                """),
            .listInt32(
                "support_token_ids", \.supportTokenIDs,
                """
                tokens that the sampler could have drawn, trainable token by trainable token; null where the dump does \
                not say
                """),
            .listInt32(
                "support_offsets", \.supportOffsets,
                """
                where in support_token_ids each trainable token's begin, and behind the last; nothing between two is \
                the whole vocabulary; null where the dump does not say
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
            .utf8("evidence", \.evidence, "how well the distributions are known: \(EntropySource.list)"),
            .utf8(
                "logits_path", \.logitsPath,
                """
                shard that holds the rollout's distributions, seen from the ingest directory; empty where there are \
                none
                """),
            .int64("logits_offset", \.logitsOffset, "bytes: where the rollout's frame begins in that shard"),
            .int64("logits_length", \.logitsLength, "bytes: how long the frame is"),
            .float32("given_reward", \.givenReward, "reward that the dump states; null where it states none"),
            .utf8("job_id", \.jobID, "job of an expansion that the rollout continues; null for all others"),
            .utf8("extras", \.extras, "JSON object of strings: all metadata that has no column of its own"),
        ],
        make: { RolloutRow() }, weight: { RoutedExperts.weight($0.routedExperts, beside: $0.tokenIDs.count) },
        writer: "crux-ingest",
        nameOf: { "rollout '\($0.rolloutID)'" },
        rules: rules)

    /// What every reader holds a row to.
    private static let rules: [RowRule<RolloutRow>] = [
        .named("rollout_id") { $0.rolloutID },
        .named("group_id") { $0.groupID },
        .tokens("token_ids") { $0.tokenIDs },
        .perToken("loss_mask", of: "token_ids", { $0.tokenIDs.count }) { $0.lossMask.count },
        .mask("loss_mask") { $0.lossMask },
        .trainable("loss_mask") { $0.lossMask },
        .perToken("rollout_logprobs", of: "token_ids", { $0.tokenIDs.count }) { $0.rolloutLogprobs?.count },
        .allFinite("rollout_logprobs") { $0.rolloutLogprobs },
        .perToken("old_logprobs", of: "token_ids", { $0.tokenIDs.count }) { $0.oldLogprobs?.count },
        .allFinite("old_logprobs") { $0.oldLogprobs },
        .perToken("advantages", of: "token_ids", { $0.tokenIDs.count }) { $0.advantages?.count },
        .allFinite("advantages") { $0.advantages },
        .positive("temperature") { $0.temperature },
        .topP { $0.topP },
        .perToken("token_roles", of: "token_ids", { $0.tokenIDs.count }) { $0.tokenRoles?.count },
        RowRule("token_roles") { row, column in
            guard let odd = row.tokenRoles?.first(where: { TokenRole(rawValue: $0) == nil }) else { return nil }
            return RowFault(column, "\(odd)", "0 to \(TokenRole.allCases.count - 1)")
        },
        .support { ($0.support, $0.tokenIDs, $0.lossMask) },
        .routes { ($0.routedExperts, $0.routedExpertsShape, tokens: $0.tokenIDs.count) },
        .evidence("evidence") { $0.evidence },
        .atLeast(0, "logits_offset") { $0.logitsOffset },
        .atLeast(0, "logits_length") { $0.logitsLength },
        .finite("given_reward") { $0.givenReward },
    ]
}
