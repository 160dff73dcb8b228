import Foundation

/// Geometric-mean policy optimization: one ratio per sequence, ρ = exp(mean of the tokens' log-ratios), each clipped on
/// one side first: min(d, high) for A > 0, else max(d, -low). The sequence's loss is -A ρ, with A the mean of its
/// tokens'; the step's is their mean. No bound of ±20. Tokens without weight (an entropy mask's) have no part in the
/// mean, as in TRL; a correction's weights enter by their geometric mean, as in verl. Rows without tokens don't count
/// (verl: they do).
package struct GMPO: Objective {
    package static let name = "gmpo"
    package static let source = "GMPO, arXiv 2507.20673; verl geo_mean, TRL gmpo"

    /// Of log-ratios: the paper's range is ±0.4, verl takes its clip_ratio, 0.2.
    package var clipLow = 0.4
    package var clipHigh = 0.4

    package init() {}

    package var problems: [String] {
        [("clip_low", clipLow), ("clip_high", clipHigh)].filter { !($0.1 >= 0) }.map {
            "\($0.0) is \($0.1); expected 0 or more"
        }
    }
    package var aggregation: NaturalAggregation { .sequenceMeans }
    package var takesOtherAggregations: Bool { false }

    package func reads(_ sequence: SequenceInputs) -> [Bool] { sequence.wholeIfWeighted }

    package func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> SequenceLoss {
        var sum = SequenceLoss()
        let tokens = sequence.positions.filter { sequence.weights[$0] != 0 }
        guard !tokens.isEmpty else { return sum }
        let count = Double(tokens.count)
        var total = 0.0, advantage = 0.0, logWeight = 0.0, unclipped: [Int] = []
        for t in tokens {
            let difference = Double(sequence.logprobs[t]) - Double(sequence.oldLogprobs[t]),
                isUp = sequence.advantages[t] > 0
            let clipped = isUp ? min(difference, clipHigh) : max(difference, -clipLow)
            if clipped == difference {
                unclipped.append(t)
            } else if isUp {
                sum.clippedHigh += 1
            } else {
                sum.clippedLow += 1
            }
            total += clipped
            advantage += Double(sequence.advantages[t]) / count
            logWeight += log(abs(Double(sequence.weights[t]))) / count
        }
        let ratio = exp(total / count)
        // The weight of a sequence is that of its tokens times how many it trains.
        let value = -advantage * ratio * exp(logWeight) * Double(sequence.positions.count)
        sum.loss = value
        sum.largestRatio = ratio
        for t in unclipped { gradient[t] += Float(value / count) }
        return sum
    }
}
