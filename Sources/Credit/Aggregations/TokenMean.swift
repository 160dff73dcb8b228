/// Every token of the step counts the same (DAPO).
package struct TokenMean: Aggregation {
    package static let name = "token_mean"
    package static let source = "DAPO, arXiv 2503.14476; verl token-mean, TRL dapo"
    package init() {}
    package func weight(trainable: Int, in step: StepCounts) -> Double {
        inverse(step.countsKept ? step.kept : step.trainable)
    }
}
