import Arrow

/// How well a rollout's distributions are known; carried through every later file.
package enum EntropySource: String, Sendable, CaseIterable {
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

    /// All of them, for documentation and messages.
    package static let list = allCases.map(\.rawValue).joined(separator: ", ")
}

extension RowRule {
    static func grade(_ column: String, _ grade: @escaping @Sendable (Row) -> String?) -> RowRule {
        RowRule(column) { row, column in
            guard let grade = grade(row), EntropySource(rawValue: grade) == nil else { return nil }
            return RowFault(column, "'\(grade)'", "one of " + EntropySource.list)
        }
    }

    static func topP(_ value: @escaping @Sendable (Row) -> Float) -> RowRule {
        RowRule("top_p") { row, column in
            let value = value(row)
            return value > 0 && value <= 1 ? nil : RowFault(column, "\(value)", "a number above 0 and at most 1")
        }
    }
}
