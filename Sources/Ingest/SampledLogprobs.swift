import ArgumentParser

/// What becomes of a rollout whose log-probabilities are none.
enum InvalidLogprobs: String, ExpressibleByArgument, CaseIterable {
    /// The rollout is rejected: most recipes need them.
    case reject
    /// They are dropped, and the rollout stays: `crux-score --checkpoint` computes them.
    case drop
}

/// The rule for log-probabilities of sampled tokens, in whatever form they come.
enum SampledLogprobs {
    /// 1e-3: producers round; a logarithm of a probability can't really be positive. -9999 is what engines write for
    /// "none".
    static func isUsable(_ value: Float) -> Bool { value <= 1e-3 && value > -9000 }

    /// The first token inside the mask that has none.
    static func firstUnusable(_ values: [Float], _ mask: [Bool]) -> Int? {
        values.indices.first { mask[$0] && !isUsable(values[$0]) }
    }

    static func rejection(_ id: String?, _ name: String, _ found: String, at place: Int) -> Rejection {
        Rejection(
            id, .invalidLogprob, found: "\(name) \(found) at position \(place)",
            expected: "a finite logarithm of at most 0"
                + (found.hasPrefix("-") || Float(found).map { $0 > 1e-3 && $0.isFinite } != true
                    ? "" : " (vLLM with --logprobs-mode raw_logits or processed_logits writes logits here)"))
    }
}
