import Foundation

/// What an objective asks of the model for each token, and what its derivatives are by.
package enum ModelOutput: String, Codable, Sendable {
    /// log-probability of the token
    case logprob
    /// the critic's value of the state before the token
    case value
    /// the raw logit of the token: Q(s, w) of a Q network
    case tokenLogit = "token_logit"
    /// KL(π || target distribution) of the state before the token
    case divergence

    /// Whether the model that answers is the policy, and no critic or Q network beside it.
    package var isOfPolicy: Bool {
        switch self {
        case .logprob, .divergence: true
        case .value, .tokenLogit: false
        }
    }
}

/// What a method reports of its own, as the mean over what it counted.
package enum Measure: String, CaseIterable, Sendable {
    /// h of preference pairs
    case rewardMargin = "reward_margin"
    /// share of sequences whose implicit reward has the outcome's sign
    case rewardAccuracy = "reward_accuracy"
    /// squared error of values or Q against their targets
    case valueError = "value_error"
    /// KL to the target distribution
    case targetDivergence = "target_divergence"
}

/// How an objective's tokens are summed.
package enum NaturalAggregation: Sendable { case tokenMean, sequenceMeans, sequenceSums }

/// Whose log-probabilities `referenceLogprobs` are: the frozen policy's, or the frozen model's that an implicit reward
/// model is measured against.
package enum Reference: String, Sendable { case policy, process }

/// π* ∝ reference · exp(Q / β), or with the bonus A / β of the sampled token in place of Q.
package struct BoltzmannSettings: Equatable, Sendable {
    package var beta: Double
    package var readsQNetwork: Bool

    /// |A / β| is kept within this.
    private static let largestBonus = 10.0

    package func bonus(advantage: Float) -> Float {
        readsQNetwork ? 0 : Float(min(max(Double(advantage) / beta, -Self.largestBonus), Self.largestBonus))
    }
}

/// A surrogate loss and its derivative by each of the model's outputs. The conforming struct's properties are the
/// recipe's keys, with their defaults.
package protocol Objective: Codable, Sendable {
    /// The recipe's `type`.
    static var name: String { get }
    /// Paper or code it comes from, for listings.
    static var source: String { get }
    init()
    /// What is wrong with the settings, one sentence each.
    var problems: [String] { get }
    /// Keys that have no effect beside the others, with what stands against them.
    var unread: [String: String] { get }
    /// What it asks of the model.
    var output: ModelOutput { get }
    /// False where the loss needs no log-probabilities of the sampling policy.
    var readsOldLogprobs: Bool { get }
    /// Where the loss itself compares with a reference: whose log-probabilities.
    var reference: Reference? { get }
    /// False where advantages have no part in the loss.
    var readsAdvantages: Bool { get }
    /// What the shaped reward of an outcome must lie in, where the loss reads it; nil: anything.
    var rewardRange: ClosedRange<Double>? { get }
    /// True where it learns towards `returns`.
    var readsReturns: Bool { get }
    var measure: Measure? { get }
    /// Sequences come two by two, chosen and rejected, in one call.
    var readsPairs: Bool { get }
    /// The loss is one of whole sequences, so that only sequence aggregations make sense.
    var isPerSequence: Bool { get }
    /// How its tokens are summed where a recipe doesn't say.
    var aggregation: NaturalAggregation { get }
    /// False where no other aggregation makes sense.
    var takesOtherAggregations: Bool { get }
    /// False where weights of single tokens for what sampler and trainer disagree about have no place in it.
    var takesCorrection: Bool { get }
    /// What stands still beside the model, where the output is a divergence.
    var boltzmann: BoltzmannSettings? { get }
    /// How the policy is drawn towards a teacher, where the output is a divergence from one.
    var distillation: Distill? { get }
    /// Share of its own that a target network keeps at each step; nil: there is none.
    var targetDecay: Double? { get }
    /// Tokens whose outputs its loss and derivatives depend on, [L], before there are any outputs: the model is not
    /// asked for others, nor are they in the mask when it is evaluated.
    func reads(_ sequence: SequenceInputs) -> [Bool]
    /// Tokens that it treats apart, chosen over the whole optimizer step from the policy as it stands; nil: none ever.
    func selection(_ step: [SequenceInputs], seed: UInt64) -> [[Bool]]?
    /// Whether `selection` is to be asked.
    var selectsTokens: Bool { get }
    /// Returns the loss and adds dL/doutput to `gradient` (length L). Arithmetic in Double.
    func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> SequenceLoss
    /// The same for sequences that belong together: one, or two where it reads pairs.
    func evaluate(unit: [SequenceInputs], gradients: inout [[Float]]) -> SequenceLoss
}

extension Objective {
    package var problems: [String] { [] }
    package var unread: [String: String] { [:] }
    package var readsAdvantages: Bool { true }
    package var rewardRange: ClosedRange<Double>? { nil }
    package var output: ModelOutput { .logprob }
    package var readsOldLogprobs: Bool { true }
    package var reference: Reference? { nil }
    package var readsReturns: Bool { false }
    package var measure: Measure? { nil }
    package var readsPairs: Bool { false }
    package var isPerSequence: Bool { false }
    package var aggregation: NaturalAggregation { isPerSequence ? .sequenceSums : .tokenMean }
    package var takesOtherAggregations: Bool { !isPerSequence }
    package var takesCorrection: Bool { !isPerSequence }
    package var boltzmann: BoltzmannSettings? { nil }
    package var distillation: Distill? { nil }
    package var targetDecay: Double? { nil }
    package var selectsTokens: Bool { false }
    package func selection(_ step: [SequenceInputs], seed: UInt64) -> [[Bool]]? { nil }
    package func reads(_ sequence: SequenceInputs) -> [Bool] { isPerSequence ? sequence.mask : sequence.weighted }

    package func evaluate(unit: [SequenceInputs], gradients: inout [[Float]]) -> SequenceLoss {
        var sum = SequenceLoss()
        for index in unit.indices { sum += evaluate(unit[index], gradient: &gradients[index]) }
        return sum
    }
}
