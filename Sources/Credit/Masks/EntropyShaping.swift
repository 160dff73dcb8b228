import Foundation

/// Entropy-shaped advantages: ψ = min(α·H, |A| / κ), A' = A + ψ. ψ is added for both signs: rewards grow at uncertain
/// tokens, penalties shrink. `symmetric` (A + sign(A)·ψ) is a variant of ours, not the paper's.
package struct EntropyShaping: Codable, Equatable, Sendable {
    package enum Mode: String, Codable, CaseIterable, Sendable { case paper, symmetric }

    /// 0.4 with GRPO, 0.1 with PPO in the paper.
    package var alpha = 0.4
    /// More than 1, or a sign could flip.
    package var kappa = 2.0
    package var mode = Mode.paper

    package init() {}

    package var problems: [String] {
        (kappa > 1
            ? []
            : ["entropy.shaping.kappa is \(kappa); expected more than 1: otherwise an advantage can change its sign"])
            + (alpha >= 0 ? [] : ["entropy.shaping.alpha is \(alpha); expected 0 or more"])
    }

    package func shaped(_ advantage: Double, entropy: Double) -> Double {
        let psi = min(alpha * entropy, abs(advantage) / kappa)
        return mode == .symmetric && advantage < 0 ? advantage - psi : advantage + psi
    }
}
