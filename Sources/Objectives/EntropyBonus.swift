/// -c · Σ entropy weight · H(token), H the entropy of the whole distribution as it stands: what is taken off the loss,
/// so that the policy keeps its choices open.
package struct EntropyBonus: Codable, Sendable {
    /// Which tokens' distributions: every trainable token's, or those that the entropy mask keeps.
    package enum Tokens: String, Codable, CaseIterable, Sendable { case all, kept }
    /// Whose weights: the mean over those tokens of the step (TRL, but for its micro-batches), or the recipe's
    /// aggregation (verl).
    package enum Weights: String, Codable, CaseIterable, Sendable {
        case tokenMean = "token_mean"
        case policy
    }

    /// c, or where it begins.
    package var coef = 0.0
    package var tokens = Tokens.all
    package var weights = Weights.tokenMean
    /// nil: c stays as it is.
    package var adaptive: AdaptiveEntropy?

    package static let source = "TRL entropy_coef, verl entropy_coeff; adaptive: Skywork-OR1, arXiv 2505.22312"

    package init() {}

    package var problems: [String] {
        let key = "entropy.bonus.coef"
        guard coef >= 0 else { return ["\(key) is \(coef); expected 0 or more"] + (adaptive?.problems ?? []) }
        guard let adaptive else {
            return coef > 0 ? [] : ["\(key) is 0: nothing of the bonus has an effect; expected more, or no bonus"]
        }
        let isWithin = coef >= adaptive.min && coef <= adaptive.max
        return adaptive.problems
            + (isWithin
                ? [] : ["\(key) is \(coef); expected \(adaptive.min) to \(adaptive.max), the bounds of adaptive"])
    }

    /// Tokens that it acts on, [L].
    package func reads(_ sequence: SequenceInputs) -> [Bool] {
        guard let weights = sequence.entropyWeights else { return sequence.mask.map { _ in false } }
        return sequence.mask.indices.map { sequence.mask[$0] && weights[$0] != 0 }
    }

    /// The term of a sequence, with the coefficient that a step applies, and its derivatives by the entropies, [L].
    package func evaluate(_ sequence: SequenceInputs, entropies: [Float], coefficient: Double) -> EntropyTerm {
        var term = EntropyTerm(derivatives: [Float](repeating: 0, count: sequence.mask.count))
        for (t, isRead) in reads(sequence).enumerated() where isRead {
            let slope = -coefficient * Double(sequence.entropyWeights?[t] ?? 0)
            term.loss += slope * Double(entropies[t])
            term.derivatives[t] = Float(slope)
            term.entropy += Double(entropies[t])
            term.tokens += 1
        }
        return term
    }
}

/// What a bonus says of one sequence.
package struct EntropyTerm: Sendable {
    package var loss = 0.0
    package var derivatives: [Float]
    /// Σ H over the tokens that it acts on, and how many those are.
    package var entropy = 0.0
    package var tokens = 0
}

/// A bonus that comes and goes with the policy's entropy: a step applies its coefficient only if the step before found
/// an entropy of at most `target`, and then takes `step` onto it or off it.
package struct AdaptiveEntropy: Codable, Sendable {
    package var target = 0.2
    package var step = 0.005
    package var min = 0.0
    package var max = 1.0

    package init() {}

    var problems: [String] {
        let key = "entropy.bonus.adaptive"
        return (target > 0 ? [] : ["\(key).target is \(target); expected more than 0"])
            + (step > 0 ? [] : ["\(key).step is \(step); expected more than 0"])
            + (min >= 0 && min <= max ? [] : ["\(key).min is \(min), max is \(max); expected 0 or more, and no less"])
    }
}

/// Where such a bonus stands between two steps.
package struct EntropyControl: Equatable, Sendable {
    package private(set) var coef: Double
    /// Mean entropy that the last step found; infinite before the first.
    package private(set) var previous: Double

    package init(coef: Double, previous: Double = .infinity) { (self.coef, self.previous) = (coef, previous) }

    /// What the step at hand applies.
    package func applied(_ bonus: EntropyBonus) -> Double {
        guard let adaptive = bonus.adaptive else { return coef }
        return previous <= adaptive.target ? coef : 0
    }

    /// After a step whose tokens had this mean entropy; nil, without any: nothing changes.
    package mutating func move(_ bonus: EntropyBonus, entropy: Double?) {
        guard let adaptive = bonus.adaptive, let entropy else { return }
        coef =
            entropy <= adaptive.target
            ? Swift.min(coef + adaptive.step, adaptive.max) : Swift.max(coef - adaptive.step, adaptive.min)
        previous = entropy
    }
}
