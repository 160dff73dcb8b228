import Foundation

/// One sequence as an objective sees it. All arrays have length L; position t describes token t, and entries where the
/// mask is false have no influence on anything.
package struct SequenceInputs: Sendable {
    /// Log-probabilities under the policy being trained.
    package var logprobs: [Float]
    /// Log-probabilities under the policy that sampled.
    package var oldLogprobs: [Float]
    package var advantages: [Float]
    /// Aggregation weights with the entropy mask folded in: the loss is the sum of weight · l(token).
    package var weights: [Float]
    /// Trainable tokens.
    package var mask: [Bool]
    package var referenceLogprobs: [Float]?
    /// Aggregation weights of the KL term, which the entropy mask does not touch.
    package var klWeights: [Float]?

    package init(
        logprobs: [Float], oldLogprobs: [Float], advantages: [Float], weights: [Float], mask: [Bool], referenceLogprobs: [Float]? = nil,
        klWeights: [Float]? = nil
    ) {
        self.logprobs = logprobs
        self.oldLogprobs = oldLogprobs
        self.advantages = advantages
        self.weights = weights
        self.mask = mask
        self.referenceLogprobs = referenceLogprobs
        self.klWeights = klWeights
    }
}

/// What an objective says about one sequence. Counts run over trainable tokens.
package struct SequenceLoss: Equatable, Sendable {
    package var loss = 0.0
    /// Tokens whose clipped term is the larger one, by the bound that binds.
    package var clippedLow = 0
    package var clippedHigh = 0
    package var largestRatio = 0.0

    package init() {}

    package static func += (sum: inout SequenceLoss, next: SequenceLoss) {
        sum.loss += next.loss
        sum.clippedLow += next.clippedLow
        sum.clippedHigh += next.clippedHigh
        sum.largestRatio = max(sum.largestRatio, next.largestRatio)
    }
}

/// A surrogate loss of one sequence and its derivative by each log-probability. The conforming struct's properties are
/// the recipe's keys, with their defaults.
package protocol Objective: Codable, Sendable {
    /// The recipe's `type`.
    static var name: String { get }
    /// Paper or code it comes from, for listings.
    static var source: String { get }
    init()
    /// What is wrong with the settings, one sentence each.
    var problems: [String] { get }
    /// False where the loss needs no log-probabilities of the sampling policy.
    var readsOldLogprobs: Bool { get }
    /// Returns the loss and adds dL/dlogprobs to `gradient` (length L). Arithmetic in Double.
    func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> SequenceLoss
}

extension Objective {
    package var problems: [String] { [] }
    package var readsOldLogprobs: Bool { true }
}

package enum ObjectiveRegistry {
    /// Sorted by name. A newcomer: one file, one line here; the tests over this list cover it.
    package static let all: [any Objective.Type] = [
        GSPO.self,
        NegativeLogLikelihood.self,
        PPOClip.self,
    ]
}

/// exp(lp - lp_old), the log-ratio kept within ±20; no derivative where the bound binds.
struct ImportanceRatio {
    let value: Double
    let isClamped: Bool

    init(_ logprob: Float, _ oldLogprob: Float) {
        let difference = Double(logprob) - Double(oldLogprob)
        isClamped = abs(difference) > 20
        value = exp(min(max(difference, -20), 20))
    }
}
