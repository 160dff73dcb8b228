/// One sequence as an objective sees it. All arrays have length L; position t describes token t, and entries where the
/// mask is false have no influence on anything.
package struct SequenceInputs: Sendable {
    /// What the model being trained says, in the objective's `output`.
    package var outputs: [Float]
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
    /// Aggregation weights of an entropy bonus, and of the likelihood beside the objective.
    package var entropyWeights: [Float]?
    package var auxiliaryWeights: [Float]?
    /// Log-probabilities of the tokens now, where outputs are something else.
    package var tokenLogprobs: [Float]?
    /// Log-probabilities as the sampler wrote them.
    package var samplerLogprobs: [Float]?
    /// What a critic or Q network is to learn.
    package var returns: [Float]?
    /// The critic's values when the plan was made.
    package var oldValues: [Float]?
    /// Shaped reward of the outcome.
    package var reward = 0.0
    /// Tokens that the objective selected over the whole step: its `selection`.
    package var selected: [Bool]?

    package var logprobs: [Float] {
        get { outputs }
        set { outputs = newValue }
    }

    package init(
        logprobs: [Float], oldLogprobs: [Float], advantages: [Float], weights: [Float], mask: [Bool],
        referenceLogprobs: [Float]? = nil,
        klWeights: [Float]? = nil
    ) {
        outputs = logprobs
        self.oldLogprobs = oldLogprobs
        self.advantages = advantages
        self.weights = weights
        self.mask = mask
        self.referenceLogprobs = referenceLogprobs
        self.klWeights = klWeights
    }

    var positions: [Int] { mask.indices.filter { mask[$0] } }

    /// Trainable tokens that carry weight, [L].
    var weighted: [Bool] { mask.indices.map { mask[$0] && weights[$0] != 0 } }

    /// All trainable tokens, where any of them carries weight, [L].
    var wholeIfWeighted: [Bool] {
        let weighted = weighted
        return weighted.contains(true) ? mask : weighted
    }

    /// Σ lp - lp_old over trainable tokens, each kept within ±20.
    var logRatioSum: Double {
        positions.reduce(0) {
            $0 + min(max(Double(logprobs[$1]) - Double(oldLogprobs[$1]), -20), 20)
        }
    }
}
