import Formats

/// Sums over what a plan makes of a dump's rollouts, in the dump's order.
package struct PlanTally: Encodable, Sendable {
    /// Tokens of kept rollouts by their entropy.
    package struct Bands: Encodable, Sendable {
        package fileprivate(set) var trainable = Binned<Int>()
        package fileprivate(set) var kept = Binned<Int>()
        /// Σ |token_weights| of kept tokens.
        package fileprivate(set) var weight = Binned<Double>()
        package fileprivate(set) var positive = Binned<Int>()
        package fileprivate(set) var negative = Binned<Int>()

        fileprivate mutating func add(_ other: Bands) {
            trainable.add(other.trainable)
            kept.add(other.kept)
            weight.add(other.weight)
            positive.add(other.positive)
            negative.add(other.negative)
        }
    }

    /// Where a step's mask lies between the tokens: with the highest entropy left out and the lowest kept.
    package struct Cut: Encodable, Equatable, Sendable {
        package fileprivate(set) var kept = 0
        package fileprivate(set) var left = 0
        package fileprivate(set) var lowestKept: Float = .greatestFiniteMagnitude
        package fileprivate(set) var highestLeft: Float = -1

        fileprivate mutating func add(_ other: Cut) {
            (kept, left) = (kept + other.kept, left + other.left)
            lowestKept = min(lowestKept, other.lowestKept)
            highestLeft = max(highestLeft, other.highestLeft)
        }
    }

    package private(set) var rollouts = 0
    package private(set) var rows = 0
    package private(set) var missing = 0
    package private(set) var dropped: [String: Int] = [:]
    package private(set) var trainableTokens = 0
    package private(set) var keptTokens = 0
    /// Of trainable tokens, by the sign of their advantage.
    package private(set) var positive = 0
    package private(set) var negative = 0
    package private(set) var zero = 0
    /// Σ |w| and Σ w² of kept tokens: an effective share of tokens is (Σ |w|)² / (n Σ w²).
    package private(set) var weight = 0.0
    package private(set) var squaredWeight = 0.0
    package private(set) var reward = Mean()
    package private(set) var bands = Bands()
    /// By step.
    package private(set) var cuts: [Int: Cut] = [:]

    package init() {}

    package mutating func add(_ view: RolloutView, _ entry: PlanEntry) {
        switch entry {
        case .missing: missing += 1
        case .dropped(let reason): dropped[reason, default: 0] += 1
        case .kept(let rows):
            rollouts += 1
            for row in rows { add(row, entropy: view.score.entropy) }
        }
    }

    private mutating func add(_ row: PlanRow, entropy: [Float]?) {
        rows += 1
        reward.add(Double(row.reward))
        for t in row.lossMask.indices where row.lossMask[t] {
            trainableTokens += 1
            positive += row.advantages[t] > 0 ? 1 : 0
            negative += row.advantages[t] < 0 ? 1 : 0
            zero += row.advantages[t] == 0 ? 1 : 0
            if row.entropyMask[t] { addKept(Double(row.tokenWeights[t])) }
            if let entropy, t < entropy.count { addBanded(row, t, entropy[t]) }
        }
    }

    private mutating func addKept(_ tokenWeight: Double) {
        keptTokens += 1
        weight += abs(tokenWeight)
        squaredWeight += tokenWeight * tokenWeight
    }

    private mutating func addBanded(_ row: PlanRow, _ t: Int, _ entropy: Float) {
        let bin = EntropyBins.bin(of: entropy), isKept = row.entropyMask[t]
        bands.trainable.add(1, to: bin)
        var cut = cuts[Int(row.step)] ?? Cut()
        if isKept {
            bands.kept.add(1, to: bin)
            bands.weight.add(abs(Double(row.tokenWeights[t])), to: bin)
            if row.advantages[t] > 0 { bands.positive.add(1, to: bin) }
            if row.advantages[t] < 0 { bands.negative.add(1, to: bin) }
            (cut.kept, cut.lowestKept) = (cut.kept + 1, min(cut.lowestKept, entropy))
        } else {
            (cut.left, cut.highestLeft) = (cut.left + 1, max(cut.highestLeft, entropy))
        }
        cuts[Int(row.step)] = cut
    }

    /// What comes after in the dump.
    package mutating func add(_ next: PlanTally) {
        (rollouts, rows, missing) = (rollouts + next.rollouts, rows + next.rows, missing + next.missing)
        dropped.merge(next.dropped, uniquingKeysWith: +)
        (trainableTokens, keptTokens) = (trainableTokens + next.trainableTokens, keptTokens + next.keptTokens)
        (positive, negative, zero) = (positive + next.positive, negative + next.negative, zero + next.zero)
        (weight, squaredWeight) = (weight + next.weight, squaredWeight + next.squaredWeight)
        reward.add(next.reward)
        bands.add(next.bands)
        for (step, cut) in next.cuts { cuts[step, default: Cut()].add(cut) }
    }
}
