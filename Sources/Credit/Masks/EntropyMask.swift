import Quantiles
import Randomness

/// Keeps a share of each scope's tokens: those of highest entropy (`top`), of lowest (`bottom`), or any (`random`).
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
                throw DecodingError.dataCorrupted(
                    .init(
                        codingPath: decoder.codingPath,
                        debugDescription: "found '\(name)', expected quantile or exact_count"))
            }
            self = ties
        }
    }

    /// ρ, under the name of what it selects. At most one of them; none is `top: 0.2`.
    package var top: Share?
    package var bottom: Share?
    package var random: Share?
    package var scope = Scope.step
    package var normalizer = Normalizer.kept
    package var ties = Ties.quantile
    /// Whose entropies decide: those of the dump, before training, or at each optimizer step those of the policy as
    /// it then stands.
    package var policy = MaskTiming.plan
    /// Most of the plan's tokens, as a share, whose entropy is known as an interval too wide to tell on which side of
    /// the threshold it lies. Up to there the interval's middle decides.
    package var maxUndecided = 0.05

    package init() {}

    private var shares: [String: Share] {
        [TopEntropy.name: top, BottomEntropy.name: bottom, RandomTokens.name: random].compactMapValues { $0 }
    }

    /// With the default share written out where none was given.
    package var spelledOut: EntropyMask {
        var mask = self
        if shares.isEmpty { mask.top = 0.2 }
        return mask
    }

    package var selection: (type: any MaskRule.Type, share: Share) {
        for type in MaskRegistry.all { if let share = shares[type.name] { return (type, share) } }
        return (TopEntropy.self, 0.2)
    }

    /// Keys that have no effect beside the others, with what stands against them.
    package var unread: [String: String] {
        let random = selection.type.readsEntropy ? nil : "a \(selection.type.name) choice reads no entropies"
        let current = policy == .current ? "policy is current, whose entropies are exact" : nil
        return ["ties": random, "max_undecided": random ?? current].compactMapValues { $0 }
    }

    package var problems: [String] {
        let moving =
            policy == .current && scope == .plan
            ? ["entropy.mask.policy is current with scope plan; expected scope step, group or rollout"] : []
        let several =
            shares.count > 1
            ? ["entropy.mask has \(shares.keys.sorted().joined(separator: " and ")); expected one of them"] : []
        return moving + several
            + ((0...1).contains(maxUndecided) ? [] : ["entropy.mask.max_undecided is \(maxUndecided); expected 0 to 1"])
            + shares.sorted { $0.key < $1.key }.filter { !(0...1).contains($0.value.value) }.map {
                "entropy.mask.\($0.key) is \($0.value); expected 0 to 1"
            }
    }

    /// The mask over one scope's tokens, and its threshold. `entropies` are those of trainable tokens in row order;
    /// `seed` decides a random selection.
    package func keep(_ entropies: [Float], seed: UInt64 = 0) -> (kept: [Bool], threshold: Double?) {
        guard !entropies.isEmpty else { return ([], nil) }
        var selector = selection.type.selector(entropies, share: selection.share, ties: ties, seed: seed)
        return (selector.marks(entropies, [Bool](repeating: true, count: entropies.count)), selector.threshold)
    }
}

/// When a mask is decided: before training, or at each optimizer step.
package enum MaskTiming: String, Codable, CaseIterable, Sendable { case plan, current }
