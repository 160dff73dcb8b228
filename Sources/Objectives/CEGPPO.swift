/// CE-GPPO: where PPO's clip leaves tokens without a gradient, they keep a bounded one: β_low (1 - low) A for r below
/// and A < 0, β_high (1 + high) A for r above and A > 0. The value has the size of the derivative everywhere. β of 0 are
/// PPO's gradient.
package struct CEGPPO: TokenObjective {
    package static let name = "ce_gppo"
    package static let source = "CE-GPPO, arXiv 2509.20712"

    package var clipLow = 0.2
    package var clipHigh = 0.28
    /// c of the dual clip, beyond which tokens of A < 0 have no gradient; null is none.
    package var clipDual: Double? = 3
    package var betaLow = 0.75
    package var betaHigh = 1.0

    package init() {}

    package var problems: [String] {
        var clip = PPOClip()
        (clip.clipLow, clip.clipHigh, clip.clipDual) = (clipLow, clipHigh, clipDual)
        return clip.problems
            + [("beta_low", betaLow), ("beta_high", betaHigh)].filter { !($0.1 >= 0) }.map {
                "\($0.0) is \($0.1); expected 0 or more"
            }
    }

    package func term(_ token: SampledToken) -> TokenTerm {
        let advantage = token.advantage, ratio = token.ratio
        if advantage < 0, ratio.value < 1 - clipLow { return kept(-betaLow * (1 - clipLow) * advantage, .low) }
        if advantage > 0, ratio.value > 1 + clipHigh { return kept(-betaHigh * (1 + clipHigh) * advantage, .high) }
        if advantage < 0, let clipDual, ratio.value > clipDual {
            return TokenTerm(loss: -advantage * clipDual, derivative: 0)
        }
        let plain = -advantage * ratio.value
        return TokenTerm(loss: plain, derivative: ratio.isClamped ? 0 : plain)
    }

    private func kept(_ slope: Double, _ bound: TokenTerm.Bound) -> TokenTerm {
        TokenTerm(loss: slope, derivative: slope, bound: bound)
    }
}
