/// What makes an estimate's gradient that of the KL itself where tokens are those of an older policy, or of the policy
/// as it stands: the estimate's own derivative leaves out how the tokens came about.
package enum KLWeighting: String, Codable, CaseIterable, Sendable {
    /// the estimate as it is
    case none
    /// r · k with r = exp(lp - lp_old), differentiated too (TRL use_bias_correction_kl, slime --use-unbiased-kl)
    case ratio
    /// the value k with the derivative of exp(lp - sg lp) · k (NeMo-RL)
    case score
}
