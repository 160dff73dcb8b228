/// Every sequence counts by its length: the sum of its tokens, averaged over the sequences.
package struct SequenceMeanTokenSum: Aggregation {
    package static let name = "sequence_mean_token_sum"
    package static let source = "verl seq-mean-token-sum"
    package init() {}
    package func weight(trainable: Int, in step: StepCounts) -> Double { inverse(step.liveRows) }
}
