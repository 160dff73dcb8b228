import Arrow

/// How well a rollout's distributions are known; carried through every later file.
package enum EntropySource: String, TableWord {
    /// Full-vocabulary logits: exact entropy.
    case logits
    /// Top-k log-probabilities: entropy as a rigorous interval.
    case topk
    /// Final hidden states, to which a checkpoint's head is applied: exact entropy.
    case hidden
    /// Recomputed by Crux's own forward pass.
    case checkpoint
    /// Token ids alone.
    case none

    package var documentation: String {
        switch self {
        case .logits: "logits over the whole vocabulary are in the dump: entropies are exact"
        case .topk: "the k best log-probabilities of each token are in the dump: entropies lie between two bounds"
        case .hidden: "final hidden states are in the dump, and a checkpoint's head is applied to them: exact"
        case .checkpoint: "crux-score computed the distributions anew from --checkpoint: exact for that checkpoint"
        case .none: "there are token ids alone, and no entropies: score with --checkpoint for methods that need them"
        }
    }
}

extension RowRule {
    static func evidence(_ column: String, _ word: @escaping @Sendable (Row) -> String?) -> RowRule {
        RowRule(column) { row, column in
            guard let word = word(row), EntropySource(rawValue: word) == nil else { return nil }
            return RowFault(column, "'\(word)'", "one of " + EntropySource.list)
        }
    }

    static func topP(_ value: @escaping @Sendable (Row) -> Float) -> RowRule {
        RowRule("top_p") { row, column in
            let value = value(row)
            return value > 0 && value <= 1 ? nil : RowFault(column, "\(value)", "a number above 0 and at most 1")
        }
    }
}
