/// Keeps the share ρ of tokens with the highest entropy within a scope: H ≥ τ with τ the (1-ρ)-quantile.
package struct EntropyMask: Codable, Equatable, Sendable {
    /// The tokens that compete: those of an optimizer step, of the whole plan, of a group, of one rollout.
    package enum Scope: String, Codable, CaseIterable, Sendable { case step, plan, group, rollout }
    /// Whether `token_mean` divides by the kept tokens (the paper) or by all trainable ones (TRL, ms-swift).
    package enum Normalizer: String, Codable, CaseIterable, Sendable { case kept, all }
    /// `quantile` keeps all ties at τ; `exact_count` keeps max(1, ⌈ρn⌉) tokens, ties by row and position.
    package enum Ties: String, Codable, CaseIterable, Sendable {
        case quantile
        case exactCount = "exact_count"

        package init(from decoder: any Decoder) throws {
            let name = try decoder.singleValueContainer().decode(String.self)
            guard let ties = name == "exact" ? .exactCount : Self(rawValue: name) else {
                throw DecodingError.dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: "found '\(name)', expected quantile or exact_count"))
            }
            self = ties
        }
    }

    /// ρ
    package var top = 0.2
    package var scope = Scope.step
    package var normalizer = Normalizer.kept
    package var ties = Ties.quantile

    package init() {}

    package var problems: [String] { (0...1).contains(top) ? [] : ["entropy.mask.top is \(top); expected 0 to 1"] }

    /// The mask over one scope's tokens, and its threshold. `entropies` are those of trainable tokens in row order.
    package func keep(_ entropies: [Float]) -> (kept: [Bool], threshold: Double?) {
        guard !entropies.isEmpty else { return ([], nil) }
        switch ties {
        case .quantile:
            let threshold = quantile(entropies, 1 - top) ?? 0
            return (entropies.map { Double($0) >= threshold }, threshold)
        case .exactCount: return keepExactly(entropies)
        }
    }

    private func keepExactly(_ entropies: [Float]) -> ([Bool], Double?) {
        // 1e-9: 0.2 · 5 must give 1 although 0.2 is a little more than a fifth.
        let count = min(entropies.count, max(1, Int((top * Double(entropies.count) - 1e-9).rounded(.up))))
        var sorted = entropies
        let threshold = select(&sorted, entropies.count - count)
        var ties = count - entropies.count { $0 > threshold }
        let kept = entropies.map { entropy in
            if entropy > threshold { return true }
            guard entropy == threshold, ties > 0 else { return false }
            ties -= 1
            return true
        }
        return (kept, Double(threshold))
    }
}
