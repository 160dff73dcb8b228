/// What an aggregation knows of an optimizer step: per row, its trainable tokens and those the mask kept.
package struct StepCounts: Sendable {
    package var trainable: [Int]
    package var kept: [Int]
    /// Divide a token mean by kept tokens rather than trainable ones.
    package var countsKept: Bool
    /// Trainable tokens of the plan's longest row.
    package var longest: Int

    package init(trainable: [Int], kept: [Int], countsKept: Bool, longest: Int) {
        self.trainable = trainable
        self.kept = kept
        self.countsKept = countsKept
        self.longest = longest
    }

    /// Rows with something to train on: B of the sequence modes.
    var liveRows: Int { trainable.count { $0 > 0 } }
}

/// How token losses become a step's loss: the weight of each row's tokens, so that the loss is a plain weighted sum and
/// splitting a step can't change it.
package protocol Aggregation: Codable, Sendable {
    static var name: String { get }
    static var source: String { get }
    init()
    var problems: [String] { get }
    /// One weight per row, the same for all its tokens; 0 where there is nothing to divide by.
    func weights(_ step: StepCounts) -> [Double]
}

extension Aggregation {
    package var problems: [String] { [] }
}

package enum AggregationRegistry {
    package static let all: [any Aggregation.Type] = [
        ConstantDivisor.self,
        SequenceMeanTokenMean.self,
        SequenceMeanTokenSum.self,
        TokenMean.self,
    ]
}

private func inverse(_ count: Int) -> Double { count > 0 ? 1 / Double(count) : 0 }

/// Every token of the step counts the same (DAPO).
package struct TokenMean: Aggregation {
    package static let name = "token_mean"
    package static let source = "DAPO, arXiv 2503.14476; verl token-mean, TRL dapo"
    package init() {}
    package func weights(_ step: StepCounts) -> [Double] {
        let weight = inverse((step.countsKept ? step.kept : step.trainable).reduce(0, +))
        return step.trainable.map { _ in weight }
    }
}

/// Every sequence counts the same, its tokens share its weight (original GRPO). A sequence's mean divides by its trainable
/// tokens whatever the mask keeps.
package struct SequenceMeanTokenMean: Aggregation {
    package static let name = "sequence_mean_token_mean"
    package static let source = "DeepSeekMath, arXiv 2402.03300; verl seq-mean-token-mean, TRL grpo"
    package init() {}
    package func weights(_ step: StepCounts) -> [Double] {
        step.trainable.map { inverse(step.liveRows) * inverse($0) }
    }
}

package struct SequenceMeanTokenSum: Aggregation {
    package static let name = "sequence_mean_token_sum"
    package static let source = "verl seq-mean-token-sum"
    package init() {}
    package func weights(_ step: StepCounts) -> [Double] { step.trainable.map { _ in inverse(step.liveRows) } }
}

/// Sum / (rows · length) with a constant length, so that no answer's length matters (Dr.GRPO, TRL's dr_grpo). Without
/// `length`: the recipe's overlong.max_length, else the plan's longest row. verl's seq-mean-token-sum-norm did not divide by
/// the rows before 0.9: `per_row: false`.
package struct ConstantDivisor: Aggregation {
    package static let name = "constant"
    package static let source = "Dr.GRPO, arXiv 2503.20783; TRL dr_grpo; verl seq-mean-token-sum-norm"
    package var length: Int?
    package var perRow = true
    package init() {}
    package var problems: [String] { length.map { $0 > 0 ? [] : ["aggregation.length is \($0); expected at least 1"] } ?? [] }
    package func weights(_ step: StepCounts) -> [Double] {
        step.trainable.map { _ in (perRow ? inverse(step.liveRows) : 1) * inverse(length ?? step.longest) }
    }
}
