import Foundation

/// (A - mean A)(lp - mean lp) over the trainable tokens of a step: tokens where it is large are those that make the policy's
/// entropy fall (The Entropy Mechanism of RL for LLMs, arXiv 2505.22617).
struct StepCovariance {
    /// Trainable tokens of the step in row order.
    private(set) var places: [(row: Int, t: Int)] = []
    private(set) var values: [Double] = []

    init(_ step: [SequenceInputs]) {
        for (row, sequence) in step.enumerated() { for t in sequence.mask.indices where sequence.mask[t] { places.append((row, t)) } }
        let advantages = places.map { Double(step[$0.row].advantages[$0.t]) }, logprobs = places.map { Double(step[$0.row].logprobs[$0.t]) }
        let count = Double(max(1, places.count)), meanA = advantages.reduce(0, +) / count, meanL = logprobs.reduce(0, +) / count
        values = zip(advantages, logprobs).map { ($0 - meanA) * ($1 - meanL) }
    }

    func marks(_ step: [SequenceInputs], _ chosen: [Int]) -> [[Bool]] {
        var marks = step.map { $0.mask.map { _ in false } }
        for index in chosen { marks[places[index].row][places[index].t] = true }
        return marks
    }
}

/// Clip-Cov: of the tokens whose covariance lies between the bounds (and which the clip leaves), a few chosen at random have
/// no part in the update.
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

    package var problems: [String] { plain.problems + (ratio > 0 && ratio <= 1 ? [] : ["ratio is \(ratio); expected more than 0 and at most 1"]) }

    private var plain: PPOClip {
        var clip = PPOClip()
        (clip.clipLow, clip.clipHigh) = (clipLow, clipHigh)
        return clip
    }

    package var marksTokens: Bool { true }

    package func marks(_ step: [SequenceInputs], seed: UInt64) -> [[Bool]]? {
        let covariance = StepCovariance(step)
        let eligible = covariance.values.indices.filter { index in
            let (row, t) = covariance.places[index]
            return covariance.values[index] > covarianceLow && covariance.values[index] < covarianceHigh && !isClipped(step[row], t)
        }
        let count = max(1, Int(ratio * Double(covariance.places.count)))
        return covariance.marks(step, sample(eligible, count, seed: seed))
    }

    private func isClipped(_ sequence: SequenceInputs, _ t: Int) -> Bool {
        let ratio = ImportanceRatio(sequence.logprobs[t], sequence.oldLogprobs[t]).value, advantage = Double(sequence.advantages[t])
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
        if let marks = sequence.marks { for t in marks.indices where marks[t] { kept.weights[t] = 0 } }
        return plain.evaluate(kept, gradient: &gradient)
    }
}

/// KL-Cov: l = -A r for every token, without a clip; the share of tokens with the largest covariance also pays coef · |lp - lp_old|.
package struct KLCov: Objective {
    package static let name = "kl_cov"
    package static let source = "KL-Cov, arXiv 2505.22617; verl core_algos"

    /// Share of the step's tokens that pay, at least one.
    package var ratio = 2e-4
    package var coef = 1.0

    package init() {}

    package var problems: [String] { ratio > 0 && ratio <= 1 && coef >= 0 ? [] : ["ratio \(ratio), coef \(coef); expected more than 0 and at most 1, and 0 or more"] }
    package var marksTokens: Bool { true }

    package func marks(_ step: [SequenceInputs], seed: UInt64) -> [[Bool]]? {
        let covariance = StepCovariance(step), count = max(1, Int(Double(covariance.values.count) * ratio))
        let largest = covariance.values.indices.sorted { (covariance.values[$0], $1) > (covariance.values[$1], $0) }.prefix(count)
        return covariance.marks(step, Array(largest))
    }

    package func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> SequenceLoss {
        var sum = SequenceLoss()
        for t in sequence.mask.indices where sequence.mask[t] {
            let ratio = ImportanceRatio(sequence.logprobs[t], sequence.oldLogprobs[t]), weight = Double(sequence.weights[t])
            let surrogate = -Double(sequence.advantages[t]) * ratio.value
            sum.loss += weight * surrogate
            sum.largestRatio = max(sum.largestRatio, ratio.value)
            if !ratio.isClamped { gradient[t] += Float(weight * surrogate) }
            guard sequence.marks?[t] == true else { continue }
            let difference = Double(sequence.logprobs[t]) - Double(sequence.oldLogprobs[t])
            sum.loss += weight * coef * abs(difference)
            gradient[t] += Float(weight * coef * (difference > 0 ? 1 : difference < 0 ? -1 : 0))
        }
        return sum
    }
}
