import Foundation

/// PPO's clipped loss with each token weighed by what has become of its future: sg(clip(exp F_t)), F_t = Σ_{k >= t}
/// 2^(-(k - t) / half_life) · (lp_k - lp_old,k) over the rollout's trainable tokens, distances counted in tokens of the
/// text.
package struct FIPO: Objective {
    package static let name = "fipo"
    package static let source = "FIPO, arXiv 2603.19835; ms-swift"

    package var clipLow = 0.2
    package var clipHigh = 0.2
    /// c of the dual clip; null is none.
    package var clipDual: Double?
    /// Tokens after which a later change counts half.
    package var halfLife = 32.0
    /// Bounds of the weight.
    package var weightLow = 1.0
    package var weightHigh = 1.2
    /// Tokens of A < 0 whose ratio is above this are weighed within `guarded_low` and 1.
    package var guardedRatio = 4.0
    package var guardedLow = 0.8
    /// Tokens whose ratio is above this add nothing to any F; null: all do.
    package var delta: Double?

    package init() {}

    package var problems: [String] {
        var problems = plain.problems
        if !(halfLife > 0) { problems.append("half_life is \(halfLife); expected more than 0") }
        if !(weightLow > 0 && weightLow <= weightHigh) {
            problems.append(
                "weight_low is \(weightLow), weight_high is \(weightHigh); expected more than 0, and no less than that")
        }
        if !(guardedLow > 0 && guardedLow <= 1) {
            problems.append("guarded_low is \(guardedLow); expected more than 0 and at most 1")
        }
        if !(guardedRatio > 0) { problems.append("guarded_ratio is \(guardedRatio); expected more than 0") }
        if let delta, !(delta > 0) { problems.append("delta is \(delta); expected more than 0, or null for none") }
        return problems
    }

    private var plain: PPOClip {
        var clip = PPOClip()
        (clip.clipLow, clip.clipHigh, clip.clipDual) = (clipLow, clipHigh, clipDual)
        return clip
    }

    /// A token's weight hangs on all that follow.
    package func reads(_ sequence: SequenceInputs) -> [Bool] { sequence.wholeIfWeighted }

    package func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> SequenceLoss {
        var weighed = sequence
        for (t, weight) in zip(sequence.mask.indices, futureWeights(sequence)) where sequence.mask[t] {
            weighed.weights[t] = Float(Double(sequence.weights[t]) * weight)
        }
        return plain.evaluate(weighed, gradient: &gradient)
    }

    /// [L]; anything where the mask is false.
    private func futureWeights(_ sequence: SequenceInputs) -> [Double] {
        let decay = exp2(-1 / halfLife)
        var future = 0.0, weights = [Double](repeating: 1, count: sequence.mask.count)
        for t in sequence.mask.indices.reversed() {
            future *= decay
            guard sequence.mask[t] else { continue }
            let ratio = ImportanceRatio(sequence.logprobs[t], sequence.oldLogprobs[t]).value
            if ratio <= delta ?? .infinity { future += log(ratio) }
            let isGuarded = sequence.advantages[t] < 0 && ratio > guardedRatio
            let (low, high) = isGuarded ? (guardedLow, 1) : (weightLow, weightHigh)
            weights[t] = min(max(exp(future), low), high)
        }
        return weights
    }
}
