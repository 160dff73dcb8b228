/// The clipped surrogate: l = max(-A r, -A clamp(r, 1 - low, 1 + high)), and for A < 0 at most -A·dual (dual clip).
/// With `clip_high` above `clip_low` this is DAPO's clip-higher. verl sets a dual clip of 3 (its DAPO recipe 10), TRL
/// none.
package struct PPOClip: Objective {
    package static let name = "ppo_clip"
    package static let source = "Schulman et al. 2017, arXiv 1707.06347; clip-higher: DAPO, arXiv 2503.14476"

    /// ε_low and ε_high of the papers.
    package var clipLow = 0.2
    package var clipHigh = 0.2
    /// c of the dual clip; null is none.
    package var clipDual: Double?

    package init() {}

    package var problems: [String] {
        var problems: [String] = []
        if !(clipLow >= 0 && clipLow < 1) { problems.append("clip_low is \(clipLow); expected 0 to below 1") }
        if !(clipHigh >= 0) { problems.append("clip_high is \(clipHigh); expected 0 or more") }
        if let clipDual, !(clipDual > 1) {
            problems.append("clip_dual is \(clipDual); expected more than 1, or null for none")
        }
        return problems
    }

    package func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> SequenceLoss {
        var sum = SequenceLoss()
        for t in sequence.mask.indices where sequence.mask[t] {
            let ratio = ImportanceRatio(sequence.logprobs[t], sequence.oldLogprobs[t])
            let advantage = Double(sequence.advantages[t]), weight = Double(sequence.weights[t])
            let term = token(advantage: advantage, ratio: ratio.value)
            sum.loss += weight * term.loss
            sum.largestRatio = max(sum.largestRatio, ratio.value)
            if term.isClipped { if advantage < 0 { sum.clippedLow += 1 } else { sum.clippedHigh += 1 } }
            if term.isActive, !ratio.isClamped { gradient[t] += Float(-weight * advantage * ratio.value) }
        }
        return sum
    }

    private func token(advantage: Double, ratio: Double) -> (loss: Double, isClipped: Bool, isActive: Bool) {
        let plain = -advantage * ratio, clipped = -advantage * min(max(ratio, 1 - clipLow), 1 + clipHigh)
        let larger = max(plain, clipped)
        let isActive = clipped <= plain && advantage != 0
        guard advantage < 0, let clipDual, larger > -advantage * clipDual else {
            return (larger, clipped > plain, isActive)
        }
        return (-advantage * clipDual, clipped > plain, false)
    }
}
