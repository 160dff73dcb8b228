import Foundation

/// Group sequence policy optimization: one ratio per sequence, s = exp(mean over trainable tokens of lp - lp_old),
/// shared by all its tokens; l = max(-A s, -A clamp(s, 1 - low, 1 + high)). The value is the sequence's, the derivative
/// goes through each token's own log-probability (straight-through), as in verl: dl/dlp_t = -A s where unclipped. The
/// log-ratio is bounded above by 10.
package struct GSPO: Objective {
    package static let name = "gspo"
    package static let source = "GSPO, arXiv 2507.18071; verl core_algos"

    /// The paper's clip sizes; 0.2 as for token ratios would be far too wide.
    package var clipLow = 3e-4
    package var clipHigh = 4e-4

    package init() {}

    package var problems: [String] {
        clipLow >= 0 && clipLow < 1 && clipHigh >= 0
            ? [] : ["clip_low \(clipLow), clip_high \(clipHigh); expected 0 to below 1, and 0 or more"]
    }

    /// A token's ratio is the whole sequence's.
    package func reads(_ sequence: SequenceInputs) -> [Bool] { sequence.wholeIfWeighted }

    package func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> SequenceLoss {
        var sum = SequenceLoss()
        let tokens = sequence.mask.indices.filter { sequence.mask[$0] }
        guard !tokens.isEmpty else { return sum }
        let total = tokens.reduce(0.0) { $0 + Double(sequence.logprobs[$1]) - Double(sequence.oldLogprobs[$1]) }
        let logRatio = total / Double(tokens.count), ratio = exp(min(logRatio, 10))
        sum.largestRatio = ratio
        for t in tokens {
            let advantage = Double(sequence.advantages[t]), weight = Double(sequence.weights[t])
            let plain = -advantage * ratio, clipped = -advantage * min(max(ratio, 1 - clipLow), 1 + clipHigh)
            sum.loss += weight * max(plain, clipped)
            if clipped > plain { if advantage < 0 { sum.clippedLow += 1 } else { sum.clippedHigh += 1 } }
            if clipped <= plain, logRatio <= 10 { gradient[t] += Float(weight * plain) }
        }
        return sum
    }
}
