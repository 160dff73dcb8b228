/// What an objective says about one sequence. Counts run over trainable tokens.
package struct SequenceLoss: Equatable, Sendable {
    package var loss = 0.0
    /// Tokens whose clipped term is the larger one, by the bound that binds.
    package var clippedLow = 0
    package var clippedHigh = 0
    package var largestRatio = 0.0
    /// Σ of the objective's `measure`, and over how many.
    package var measure = 0.0
    package var measured = 0

    /// Sequences that were left out as stale.
    package var staleRows = 0

    package init() {}

    package static func += (sum: inout SequenceLoss, next: SequenceLoss) {
        sum.loss += next.loss
        sum.clippedLow += next.clippedLow
        sum.clippedHigh += next.clippedHigh
        sum.largestRatio = max(sum.largestRatio, next.largestRatio)
        sum.measure += next.measure
        sum.measured += next.measured
        sum.staleRows += next.staleRows
    }
}
