/// Soft adaptive policy optimization: l = -A (4/τ) sigmoid(τ (r - 1)), a gate in place of a clip, with another τ for
/// tokens of negative advantage. The derivative is -A · 4 s (1 - s) r; 0 where the ratio's bound of exp(±20) binds (TRL
/// and AReaL have none, and give NaN there). AReaL averages tokens where the others average sequences.
package struct SAPO: TokenObjective {
    package static let name = "sapo"
    package static let source = "SAPO, arXiv 2511.20347; verl core_algos, TRL sapo"

    /// τ of tokens with A > 0, and of the others.
    package var tauPos = 1.0
    package var tauNeg = 1.05

    package init() {}

    package var problems: [String] {
        [("tau_pos", tauPos), ("tau_neg", tauNeg)].filter { !($0.1 > 0) }.map {
            "\($0.0) is \($0.1); expected more than 0"
        }
    }
    package var aggregation: NaturalAggregation { .sequenceMeans }

    package func term(_ token: SampledToken) -> TokenTerm {
        let tau = token.advantage > 0 ? tauPos : tauNeg, ratio = token.ratio
        let gate = sigmoid(tau * (ratio.value - 1))
        let slope = ratio.isClamped ? 0 : 4 * gate * (1 - gate) * ratio.value
        return TokenTerm(loss: -token.advantage * 4 / tau * gate, derivative: -token.advantage * slope)
    }
}
