/// Every sequence counts the same, its tokens share its weight (original GRPO). A sequence's mean divides by its
/// trainable tokens whatever the mask keeps.
package struct SequenceMeanTokenMean: Aggregation {
    package static let name = "sequence_mean_token_mean"
    package static let source = "DeepSeekMath, arXiv 2402.03300; verl seq-mean-token-mean, TRL grpo"
    package init() {}
    package func weight(trainable: Int, in step: StepCounts) -> Double { inverse(step.liveRows) * inverse(trainable) }
}
