import Formats

/// Where two plans of one dump part, token by token. A rollout with several rows counts by its first.
package struct PlanComparisonTally: Encodable, Sendable {
    /// Of rollouts, or of tokens: which of the two plans keeps them.
    package struct Shares<Count: AdditiveArithmetic & Encodable & Sendable>: Encodable, Sendable {
        package var both = Count.zero
        package var onlyFirst = Count.zero
        package var onlySecond = Count.zero
        package var neither = Count.zero
    }

    package private(set) var rollouts = Shares<Int>()
    package private(set) var tokens = Shares<Int>()
    /// Of tokens that only one plan keeps, and that both do: by entropy.
    package private(set) var both = Binned<Int>()
    package private(set) var onlyFirst = Binned<Int>()
    package private(set) var onlySecond = Binned<Int>()
    /// Of tokens that both keep.
    package private(set) var signsDiffer = 0
    package private(set) var advantagesDiffer = 0
    package private(set) var weightsDiffer = 0
    package private(set) var largestAdvantageDifference: Float = 0
    /// Σ | |w₁| - |w₂| | over all tokens, a plan that leaves a token out giving it 0.
    package private(set) var movedWeight = 0.0

    package init() {}

    package mutating func add(_ view: RolloutView, _ first: PlanEntry, _ second: PlanEntry) {
        let one = first.rows.first, two = second.rows.first
        count(in: &rollouts, one != nil, two != nil, 1)
        for t in view.trainable {
            let isKept = (one?.keeps(t) ?? false, two?.keeps(t) ?? false)
            count(in: &tokens, isKept.0, isKept.1, 1)
            if let entropy = view.score.entropy?[t] { addBinned(isKept, EntropyBins.bin(of: entropy)) }
            movedWeight += abs(weight(one, t) - weight(two, t))
            if isKept == (true, true), let one, let two { compare(one, two, t) }
        }
    }

    private func count<Count>(
        in shares: inout Shares<Count>, _ isInFirst: Bool, _ isInSecond: Bool, _ count: Count
    ) {
        switch (isInFirst, isInSecond) {
        case (true, true): shares.both += count
        case (true, false): shares.onlyFirst += count
        case (false, true): shares.onlySecond += count
        case (false, false): shares.neither += count
        }
    }

    private mutating func addBinned(_ isKept: (Bool, Bool), _ bin: Int) {
        switch isKept {
        case (true, true): both.add(1, to: bin)
        case (true, false): onlyFirst.add(1, to: bin)
        case (false, true): onlySecond.add(1, to: bin)
        case (false, false): break
        }
    }

    private func weight(_ row: PlanRow?, _ t: Int) -> Double {
        row.map { $0.keeps(t) ? abs(Double($0.tokenWeights[t])) : 0 } ?? 0
    }

    private mutating func compare(_ one: PlanRow, _ two: PlanRow, _ t: Int) {
        let difference = abs(one.advantages[t] - two.advantages[t])
        signsDiffer += one.advantages[t] * two.advantages[t] < 0 ? 1 : 0
        advantagesDiffer += difference > 0 ? 1 : 0
        weightsDiffer += one.tokenWeights[t] != two.tokenWeights[t] ? 1 : 0
        largestAdvantageDifference = max(largestAdvantageDifference, difference)
    }

    /// What comes after in the dump.
    package mutating func add(_ next: PlanComparisonTally) {
        rollouts.add(next.rollouts)
        tokens.add(next.tokens)
        both.add(next.both)
        onlyFirst.add(next.onlyFirst)
        onlySecond.add(next.onlySecond)
        signsDiffer += next.signsDiffer
        advantagesDiffer += next.advantagesDiffer
        weightsDiffer += next.weightsDiffer
        largestAdvantageDifference = max(largestAdvantageDifference, next.largestAdvantageDifference)
        movedWeight += next.movedWeight
    }

    /// In how many tokens a rollout's two plans part.
    package static func differingTokens(_ view: RolloutView, _ first: PlanEntry, _ second: PlanEntry) -> Int {
        let one = first.rows.first, two = second.rows.first
        return view.trainable.count { (one?.keeps($0) ?? false) != (two?.keeps($0) ?? false) }
    }
}

extension PlanComparisonTally.Shares {
    fileprivate mutating func add(_ other: Self) {
        both += other.both
        onlyFirst += other.onlyFirst
        onlySecond += other.onlySecond
        neither += other.neither
    }
}

extension PlanRow {
    /// Whether the policy gradient is taken of a token.
    package func keeps(_ t: Int) -> Bool { t < lossMask.count && lossMask[t] && entropyMask[t] }
}
