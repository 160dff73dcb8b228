import Foundation

/// GTPO: token rewards that grow with the entropy of right rollouts' tokens and, in wrong ones, with its inverse. At a
/// token t that d right rollouts have: r = base · R + entropy · d H / Σ H over those; at one that h wrong ones have:
/// r = -base - entropy · h (1/(H + 1e-8)) / Σ 1/(H + 1e-8). Advantages are (r - mean) / sqrt(var + 1e-8) of the
/// population: of right and wrong tokens apart (`separate`, the code's) or together (`joint`, ours), or r itself.
package struct GTPO: AdvantageEstimator {
    package static let name = "gtpo"
    package static let source = "GTPO, arXiv 2508.04349; code teilomillet/textpolicy"

    package enum Normalization: String, Codable, CaseIterable, Sendable { case joint, separate, none }
    /// Rollouts whose tokens are compared: those of a group (the paper's), or of the whole plan (the code's batch).
    package enum Scope: String, Codable, CaseIterable, Sendable { case group, plan }

    /// α1 and α2; the paper's proposition wants them to sum to 1.
    package var base = 1.0
    package var entropy = 0.1
    package var normalize = Normalization.separate
    package var scope = Scope.group

    package init() {}

    package var problems: [String] {
        [("base", base), ("entropy", entropy)].compactMap {
            $1 >= 0 ? nil : "advantage.\($0) is \($1); expected 0 or more"
        }
    }

    package var columns: Set<TokenColumn> { [.entropy] }
    package var readsWholePlan: Bool { scope == .plan }

    package var caveats: [String] {
        normalize == .separate
            ? [
                "advantage.normalize is separate: right and wrong tokens have mean 0 each, so that which of them was right "
                    + "has no part in the step, only entropy has; joint keeps it"
            ] : []
    }

    package func planNumbers(_ group: [Episode]) -> [Double] {
        var sums = TokenSums()
        for episode in group { sums.add(episode) }
        return sums.numbers
    }

    package func gather(_ numbers: inout [Double], _ next: [Double]) {
        if numbers.count < next.count { numbers += [Double](repeating: 0, count: next.count - numbers.count) }
        for index in next.indices { numbers[index] += next[index] }
    }

    /// Of each token t what a right one's entropy and a wrong one's inverse is multiplied by, behind the mean and the
    /// factor of right tokens and of wrong ones.
    package func planFigures(_ numbers: [Double]) -> [Double] {
        let sums = TokenSums(numbers), shares = (0..<sums.count).map { sums.shares($0, entropy) }
        var right = Moments(), wrong = Moments()
        for t in 0..<sums.count {
            right.add(sums.rightMoments(t, base: base, share: shares[t].right))
            wrong.add(sums.wrongMoments(t, base: base, share: shares[t].wrong))
        }
        if normalize == .joint {
            right.add(wrong)
            wrong = right
        }
        let scales = normalize == .none ? [0, 1, 0, 1] : [right.mean, right.scale, wrong.mean, wrong.scale]
        return scales + shares.flatMap { [$0.right, $0.wrong] }
    }

    package func credit(_ group: [Episode], plan: [Double]) -> [EpisodeCredit?] {
        let figures = scope == .plan ? plan : planFigures(planNumbers(group))
        return group.map { episode in
            let isRight = episode.outcome.isRight, mean = figures[isRight ? 0 : 2], scale = figures[isRight ? 1 : 3]
            let rewards = episode.numbers(.entropy).enumerated().map { t, entropy in
                let share = figures[4 + 2 * t + (isRight ? 0 : 1)]
                return isRight ? base * episode.score + share * entropy : -base - share * inverseEntropy(entropy)
            }
            return EpisodeCredit(advantages: episode.spread(rewards.map { Self.difference($0, mean) * scale }))
        }
    }

    /// 0 where two numbers are equal beyond rounding: a set without variance has no advantages.
    private static func difference(_ reward: Double, _ mean: Double) -> Double {
        abs(reward - mean) <= 1e-12 * max(1, abs(mean)) ? 0 : reward - mean
    }
}

private let epsilon = 1e-8

private func inverseEntropy(_ entropy: Double) -> Double { 1 / (entropy + epsilon) }

/// Count, sum and sum of squares.
private struct Moments {
    var count = 0.0
    var sum = 0.0
    var squares = 0.0

    var mean: Double { count > 0 ? sum / count : 0 }

    var scale: Double {
        count > 0 ? 1 / (max(0, squares / count - mean * mean) + epsilon).squareRoot() : 0
    }

    mutating func add(_ next: Moments) {
        count += next.count
        sum += next.sum
        squares += next.squares
    }
}

/// What tokens of one place, over many rollouts, add up to: all that their rewards' mean and variance follow from.
private struct TokenSums {
    /// Of right rollouts: how many, Σ R, Σ R², Σ H, Σ R H, Σ H²; of wrong ones: how many, Σ 1/H, Σ 1/H².
    private static let width = 9
    private(set) var numbers: [Double]

    init(_ numbers: [Double] = []) { self.numbers = numbers }

    var count: Int { numbers.count / Self.width }

    mutating func add(_ episode: Episode) {
        let entropies = episode.numbers(.entropy), isRight = episode.outcome.isRight, reward = episode.score
        let missing = entropies.count - count
        if missing > 0 { numbers += [Double](repeating: 0, count: missing * Self.width) }
        for (t, entropy) in entropies.enumerated() {
            let inverse = inverseEntropy(entropy)
            let own =
                isRight
                ? [1, reward, reward * reward, entropy, reward * entropy, entropy * entropy, 0, 0, 0]
                : [0, 0, 0, 0, 0, 0, 1, inverse, inverse * inverse]
            for index in own.indices { numbers[t * Self.width + index] += own[index] }
        }
    }

    private func sums(_ t: Int) -> ArraySlice<Double> { numbers[t * Self.width..<(t + 1) * Self.width] }

    /// What H of right tokens and 1/H of wrong ones is multiplied by.
    func shares(_ t: Int, _ weight: Double) -> (right: Double, wrong: Double) {
        let sums = Array(sums(t))
        return (sums[3] > 0 ? weight * sums[0] / sums[3] : 0, sums[7] > 0 ? weight * sums[6] / sums[7] : 0)
    }

    /// Of base · R + share · H.
    func rightMoments(_ t: Int, base: Double, share: Double) -> Moments {
        let sums = Array(sums(t))
        return Moments(
            count: sums[0], sum: base * sums[1] + share * sums[3],
            squares: base * base * sums[2] + 2 * base * share * sums[4] + share * share * sums[5])
    }

    /// Of -base - share / H.
    func wrongMoments(_ t: Int, base: Double, share: Double) -> Moments {
        let sums = Array(sums(t))
        return Moments(
            count: sums[6], sum: -base * sums[6] - share * sums[7],
            squares: base * base * sums[6] + 2 * base * share * sums[7] + share * share * sums[8])
    }
}
