/// CISPO: l = -sg(clamp(r, 1 - low, 1 + high)) · A · lp. The ratio is clipped, not the update: every token keeps a
/// gradient.
package struct CISPO: Objective {
    package static let name = "cispo"
    package static let source = "MiniMax-M1, arXiv 2506.13585; verl core_algos"

    /// The paper has no lower bound; 1 is none.
    package var clipLow = 1.0
    package var clipHigh = 0.28

    package init() {}

    package var problems: [String] {
        clipLow >= 0 && clipLow <= 1 && clipHigh >= 0
            ? [] : ["clip_low \(clipLow), clip_high \(clipHigh); expected 0 to 1, and 0 or more"]
    }

    package func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> SequenceLoss {
        var sum = SequenceLoss()
        for t in sequence.mask.indices where sequence.mask[t] {
            let ratio = ImportanceRatio(sequence.logprobs[t], sequence.oldLogprobs[t]).value,
                clipped = min(max(ratio, 1 - clipLow), 1 + clipHigh)
            let scale = -Double(sequence.weights[t]) * Double(sequence.advantages[t]) * clipped
            sum.loss += scale * Double(sequence.logprobs[t])
            sum.largestRatio = max(sum.largestRatio, ratio)
            if ratio < clipped { sum.clippedLow += 1 } else if ratio > clipped { sum.clippedHigh += 1 }
            gradient[t] += Float(scale)
        }
        return sum
    }
}
