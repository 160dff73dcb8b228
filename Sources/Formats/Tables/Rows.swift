/// The rows that stages hand to each other. Every per-token array has the length of `tokenIDs` and holds 0 where the
/// loss mask is false; position t describes token t (not the prediction made at t).

/// How well a rollout's distributions are known; carried through every later file.
package enum EvidenceGrade: String, Sendable, CaseIterable {
    /// Full-vocabulary logits: exact entropy.
    case logits
    /// Top-k log-probabilities: entropy as a rigorous interval.
    case topk
    /// Final hidden states, to which a checkpoint's head is applied: exact entropy.
    case hidden
    /// Recomputed by Crux's own forward pass.
    case checkpoint
    /// Token ids alone.
    case none
}

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
    package var evidence = EvidenceGrade.none.rawValue
    package var logitsPath = ""
    package var logitsOffset: Int64 = 0
    package var logitsLength: Int64 = 0
    package var givenReward: Float?
    package var jobID: String?
    package var extras = "{}"
    package init() {}
}

/// A row or frame that `ingest` refused, with its reason.
package struct RejectedRow: Equatable, Sendable {
    package var shard = ""
    package var frameIndex: Int64 = 0
    package var frameOffset: Int64 = 0
    package var rolloutID: String?
    package var reason = ""
    package var detail = ""
    package init() {}
}

/// What `score` adds to a rollout: same rows, same order.
package struct ScoreRow: Equatable, Sendable {
    package var rolloutID = ""
    package var reward: Float?
    package var correct: Bool?
    package var verdict = ""
    package var extracted = ""
    package var entropy: [Float]?
    package var entropyLow: [Float]?
    package var entropyHigh: [Float]?
    package var oldLogprobs: [Float]?
    package var referenceLogprobs: [Float]?
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
}

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
    package init() {}
}

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
    /// What a critic or Q network is to learn, and the critic's values now.
    package var returns: [Float]?
    package var values: [Float]?
    /// Chosen and rejected response carry the same number, chosen first.
    package var pair: Int32?
    package var temperature: Float = 1
    package var step: Int32 = 0
    package var reward: Float = 0
    /// What the rollout's entropies came from.
    package var evidence: String?
    package init() {}
}

/// A rollout the plan leaves out, with its reason.
package struct DroppedRow: Equatable, Sendable {
    package var rolloutID = ""
    package var groupID = ""
    package var reason = ""
    package init() {}
}

/// One optimizer step.
package struct MetricsRow: Equatable, Sendable {
    package var step: Int32 = 0
    package var loss: Double = 0
    package var gradNorm: Double = 0
    package var clipFractionLow: Double = 0
    package var clipFractionHigh: Double = 0
    package var importanceRatioMax: Double = 0
    package var klK3: Double = 0
    package var entropy: Double = 0
    package var rewardMean: Double = 0
    package var trainableTokens: Int64 = 0
    /// Of these, those that the model was asked about.
    package var evaluatedTokens: Int64 = 0
    package var seconds: Double = 0
    /// What some methods add: see `Measure`.
    package var rewardMargin: Double?
    package var rewardAccuracy: Double?
    package var valueError: Double?
    package var targetDivergence: Double?
    package init() {}
}

/// One iteration of the loop, from rollouts to a new checkpoint. Figures of the rollouts are those of the policy before
/// the iteration's update, held-out ones of the policy after it; iteration 0 is the policy that the loop started from.
package struct LoopRow: Codable, Equatable, Sendable {
    package var iteration: Int32 = 0
    package var prompts: Int64 = 0
    package var rollouts: Int64 = 0
    /// Everything that was sampled to learn from, continuations of jobs included.
    package var sampledTokens: Int64 = 0
    package var optimizerSteps: Int64 = 0
    package var trainAccuracy: Double?
    package var rewardMean: Double?
    package var entropy: Double?
    package var completionLength: Double?
    package var gradNorm: Double?
    package var heldoutAccuracy: Double?
    package var heldoutEntropy: Double?
    package var heldoutLength: Double?
    /// At temperature 0, where that was asked for.
    package var heldoutGreedyAccuracy: Double?
    package init() {}
}
