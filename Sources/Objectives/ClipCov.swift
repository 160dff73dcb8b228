/// Clip-Cov: of the tokens whose covariance lies between the bounds (and which the clip leaves), a few chosen at random
/// have no part in the update.
package struct ClipCov: Objective {
    package static let name = "clip_cov"
    package static let source = "Clip-Cov, arXiv 2505.22617; verl core_algos"

    package var clipLow = 0.2
    package var clipHigh = 0.2
    /// Share of the step's tokens taken out, at least one.
    package var ratio = 2e-4
    package var covarianceLow = 1.0
    package var covarianceHigh = 5.0

    package init() {}

    package var problems: [String] {
        plain.problems + (ratio > 0 && ratio <= 1 ? [] : ["ratio is \(ratio); expected more than 0 and at most 1"])
            + (covarianceLow < covarianceHigh
                ? [] : ["covariance_low is \(covarianceLow); expected less than covariance_high, \(covarianceHigh)"])
    }

    private var plain: PPOClip {
        var clip = PPOClip()
        (clip.clipLow, clip.clipHigh) = (clipLow, clipHigh)
        return clip
    }

    package var selectsTokens: Bool { true }

    package func selection(_ step: [SequenceInputs], seed: UInt64) -> [[Bool]]? {
        let covariance = StepCovariance(step)
        let eligible = covariance.values.indices.filter { index in
            let (row, t) = covariance.places[index]
            return covariance.values[index] > covarianceLow && covariance.values[index] < covarianceHigh
                && !isClipped(step[row], t)
        }
        let count = max(1, Int(ratio * Double(covariance.places.count)))
        return covariance.selection(step, sample(eligible, count, seed: seed))
    }

    private func isClipped(_ sequence: SequenceInputs, _ t: Int) -> Bool {
        let ratio = ImportanceRatio(sequence.logprobs[t], sequence.oldLogprobs[t]).value,
            advantage = Double(sequence.advantages[t])
        return -advantage * min(max(ratio, 1 - clipLow), 1 + clipHigh) > -advantage * ratio
    }

    /// `count` of the candidates, those whose hash with the seed is smallest: any order of equal chances will do.
    private func sample(_ candidates: [Int], _ count: Int, seed: UInt64) -> [Int] {
        func key(_ index: Int) -> UInt64 {
            var z = seed &+ UInt64(index) &* 0x9E37_79B9_7F4A_7C15
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return z ^ (z >> 31)
        }
        return Array(candidates.map { (key($0), $0) }.sorted { $0 < $1 }.prefix(count).map(\.1))
    }

    package func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> SequenceLoss {
        var kept = sequence
        if let selected = sequence.selected { for t in selected.indices where selected[t] { kept.weights[t] = 0 } }
        return plain.evaluate(kept, gradient: &gradient)
    }
}
