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
