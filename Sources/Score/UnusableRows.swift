import Formats

/// Rollouts whose numbers no plan can use keep their row, with a verdict that says so: plans leave them out by it.
extension ScoreRow {
    static let unusablePrefix = "invalid_"

    var isUnusable: Bool { verdict.hasPrefix(Self.unusablePrefix) }

    /// Takes out the columns that hold infinities or NaN at trainable tokens, and says so in the verdict.
    mutating func refuseNotFinite(_ mask: [Bool]) {
        func refuse(_ column: inout [Float]?, _ name: String) {
            guard let values = column, !Self.areFinite(values, mask) else { return }
            column = nil
            verdict = Self.unusablePrefix + name
        }
        refuse(&expectedQ, "expected_q")
        refuse(&referenceKL, "reference_kl")
        refuse(&processReferenceLogprobs, "process_reference_logprobs")
        refuse(&processLogprobs, "process_logprobs")
        refuse(&values, "values")
        refuse(&referenceLogprobs, "reference_logprobs")
        refuse(&entropy, "entropy")
        refuse(&oldLogprobs, "old_logprobs")
    }

    private static func areFinite(_ values: [Float], _ mask: [Bool]) -> Bool {
        values.allSatisfy(\.isFinite) || zip(values, mask).allSatisfy { !$1 || $0.isFinite }
    }
}

enum UnusableRows {
    static func warnings(_ record: ScoreRecord) -> [String] {
        let rows = record.unusable.sorted { $0.key < $1.key }.map { verdict, first in
            "\(record.verdicts[verdict] ?? 0) rollouts can't be used (\(verdict)\(reasons[verdict] ?? "")), the first is '\(first)': plans leave them out"
        }
        guard record.excludingStates > 0 else { return rows }
        return rows + [
            "the reference excludes tokens that the policy reaches, in \(record.excludingStates) states: their log-probability counts as -30"
        ]
    }

    private static let reasons = ["invalid_sampled_token": ": the logits give the sampled token no probability"]
}
