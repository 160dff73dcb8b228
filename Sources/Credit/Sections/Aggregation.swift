/// What an aggregation knows of an optimizer step.
package struct StepCounts: Sendable {
    /// Over all rows: trainable tokens, and those that the mask kept.
    package private(set) var trainable = 0
    package private(set) var kept = 0
    /// Rows with something to train on: B of the sequence modes.
    package private(set) var liveRows = 0
    /// Divide a token mean by kept tokens rather than trainable ones.
    package var countsKept: Bool
    /// Trainable tokens of the plan's longest row.
    package var longest: Int

    package init(countsKept: Bool, longest: Int) { (self.countsKept, self.longest) = (countsKept, longest) }

    package mutating func add(trainable: Int, kept: Int) {
        self.trainable += trainable
        self.kept += kept
        liveRows += trainable > 0 ? 1 : 0
    }

    /// The same step without a mask.
    package var unmasked: StepCounts {
        var counts = self
        (counts.kept, counts.countsKept) = (trainable, false)
        return counts
    }
}

/// How token losses become a step's loss: the weight of each row's tokens, so that the loss is a plain weighted sum and
/// splitting a step can't change it.
package protocol Aggregation: Codable, Sendable {
    static var name: String { get }
    static var source: String { get }
    init()
    var problems: [String] { get }
    /// Weight of every token of a row with so many trainable ones; 0 where there is nothing to divide by.
    func weight(trainable: Int, in step: StepCounts) -> Double
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
    package func weight(trainable: Int, in step: StepCounts) -> Double {
        inverse(step.countsKept ? step.kept : step.trainable)
    }
}

/// Every sequence counts the same, its tokens share its weight (original GRPO). A sequence's mean divides by its
/// trainable tokens whatever the mask keeps.
package struct SequenceMeanTokenMean: Aggregation {
    package static let name = "sequence_mean_token_mean"
    package static let source = "DeepSeekMath, arXiv 2402.03300; verl seq-mean-token-mean, TRL grpo"
    package init() {}
    package func weight(trainable: Int, in step: StepCounts) -> Double { inverse(step.liveRows) * inverse(trainable) }
}

package struct SequenceMeanTokenSum: Aggregation {
    package static let name = "sequence_mean_token_sum"
    package static let source = "verl seq-mean-token-sum"
    package init() {}
    package func weight(trainable: Int, in step: StepCounts) -> Double { inverse(step.liveRows) }
}

/// Sum / (rows · length) with a constant length, so that no answer's length matters (Dr.GRPO, TRL's dr_grpo). Without
/// `length`: the recipe's overlong.max_length, else the plan's longest row. verl's seq-mean-token-sum-norm did not
/// divide by the rows before 0.9: `per_row: false`.
package struct ConstantDivisor: Aggregation {
    package static let name = "constant"
    package static let source = "Dr.GRPO, arXiv 2503.20783; TRL dr_grpo; verl seq-mean-token-sum-norm"
    package var length: Int?
    package var perRow = true
    package init() {}
    package var problems: [String] { Bounds.problems("aggregation.length", length, Bounds.tokens, orNull: true) }
    package func weight(trainable: Int, in step: StepCounts) -> Double {
        (perRow ? inverse(step.liveRows) : 1) * inverse(length ?? step.longest)
    }
}
