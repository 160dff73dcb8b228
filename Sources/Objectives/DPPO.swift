import Foundation

/// Divergence proximal policy optimization: l = -A · min(r, cap), but for tokens that have moved too far in the
/// direction of their advantage, measured by probabilities and not by their ratio: the difference of the two (`tv`), or
/// the divergence of whether the token is drawn (`kl`). What is kept has the derivative -A · min(r, cap), also at the
/// cap. verl names the thresholds clip_ratio_low and _high, and caps at clip_ratio_c, 3 in its actor.yaml. `squared`
/// adds squared · (lp - lp_old)² to every token: prime-rl's loss, with 1e-3, no cap, and old log-probabilities that are
/// the sampler's.
package struct DPPO: TokenObjective {
    package static let name = "dppo"
    package static let source = "DPPO, arXiv 2602.04879; verl core_algos, prime-rl"

    package enum Divergence: String, Codable, CaseIterable, Sendable {
        /// |π - π_old| of the sampled token
        case tv
        /// KL of drawing the token or not
        case kl
    }

    package var divergence = Divergence.tv
    /// How far tokens may move down (A <= 0) and up (A > 0).
    package var low = 0.2
    package var high = 0.2
    /// null is no cap.
    package var cap: Double? = 20
    package var squared = 0.0

    package init() {}

    package var problems: [String] {
        var problems = [("low", low), ("high", high)].filter { !($0.1 > 0) }.map {
            "\($0.0) is \($0.1); expected more than 0"
        }
        if let cap, !(cap >= 1) { problems.append("cap is \(cap); expected 1 or more, or null for none") }
        if !(squared >= 0) { problems.append("squared is \(squared); expected 0 or more") }
        return problems
    }

    package func term(_ token: SampledToken) -> TokenTerm {
        let isUp = token.advantage > 0, isKept = keeps(token, isUp: isUp), ratio = token.ratio
        let surrogate = isKept ? -token.advantage * min(ratio.value, cap ?? .infinity) : 0
        let square = squared * token.logRatio * token.logRatio, slope = 2 * squared * token.logRatio
        return TokenTerm(
            loss: surrogate + square, derivative: (ratio.isClamped ? 0 : surrogate) + slope,
            bound: isKept ? .none : isUp ? .high : .low)
    }

    private func keeps(_ token: SampledToken, isUp: Bool) -> Bool {
        let now = min(exp(token.logprob), 1), old = min(exp(token.oldLogprob), 1), threshold = isUp ? high : low
        switch divergence {
        case .tv: return (isUp ? now - old : old - now) <= threshold
        case .kl:
            guard isUp ? now > old : now < old else { return true }
            let drawn = old * (token.oldLogprob - token.logprob)
            return drawn + (1 - old) * log((1 - old + 1e-8) / (1 - now + 1e-8)) <= threshold
        }
    }
}
