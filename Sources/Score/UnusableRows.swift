import Formats

/// Rollouts whose numbers no plan can use keep their row, with a verdict that says so: plans leave them out by it.
extension ScoreRow {
    var isUnusable: Bool { Verdict(rawValue: verdict)?.isUnusable ?? false }

    /// Takes out the columns that hold infinities or NaN at trainable tokens, and says so in the verdict.
    mutating func refuseNotFinite(_ mask: [Bool]) {
        let columns: [(WritableKeyPath<ScoreRow, [Float]?>, Verdict)] = [
            (\.expectedQ, .invalidExpectedQ), (\.referenceKL, .invalidReferenceKL),
            (\.processReferenceLogprobs, .invalidProcessReferenceLogprobs),
            (\.processLogprobs, .invalidProcessLogprobs), (\.values, .invalidValues),
            (\.referenceLogprobs, .invalidReferenceLogprobs), (\.entropy, .invalidEntropy),
            (\.oldLogprobs, .invalidOldLogprobs),
        ]
        for (column, verdict) in columns {
            guard let values = self[keyPath: column], !Self.areFinite(values, mask) else { continue }
            self[keyPath: column] = nil
            setVerdict(verdict)
        }
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

    private static let reasons = [
        Verdict.invalidSampledToken.rawValue: ": the logits give the sampled token no probability"
    ]
}
