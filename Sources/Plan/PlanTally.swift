import Credit

/// Sums over the tokens of written rows, in their order.
struct PlanTally: Sendable {
    private(set) var positive = 0
    private(set) var negative = 0
    private(set) var zero = 0
    private(set) var advantageMax = 0.0
    private(set) var staleness = Staleness()
    /// By step.
    private(set) var weights: [Int: Double] = [:]
    /// Σ |weight|.
    private(set) var weightSize = 0.0
    /// Tokens that the correction leaves out, and rollouts of which it leaves none.
    private(set) var rejectedTokens = 0
    private(set) var rejectedRows = 0
    /// Rollouts whose correction knows no sampler.
    private(set) var withoutSampler = 0
    /// Tokens that the teacher excludes.
    private(set) var excludedByTeacher = 0
    /// Tokens that end a sequence and have no part.
    private(set) var endTokens = 0
    private var sum = 0.0
    /// Of rollouts that are right, and of those that are wrong.
    private(set) var right = MeanAdvantage()
    private(set) var wrong = MeanAdvantage()

    /// Of tokens.
    struct MeanAdvantage: Sendable {
        private var sum = 0.0
        private var count = 0

        /// nil where there is no token.
        var mean: Double? { count > 0 ? sum / Double(count) : nil }

        mutating func add(_ sum: Double, _ count: Int) {
            self.sum += sum
            self.count += count
        }

        mutating func add(_ next: MeanAdvantage) { add(next.sum, next.count) }
    }

    var advantageMean: Double { sum / Double(max(1, positive + negative + zero)) }

    /// `correct`: the rollout's verdict, where there is one.
    mutating func add(_ credit: TokenCredit, correct: Bool?) {
        var weight = 0.0, own = 0.0, count = 0
        for t in credit.mask.indices where credit.mask[t] {
            let advantage = credit.advantages[t]
            positive += advantage > 0 ? 1 : 0
            negative += advantage < 0 ? 1 : 0
            zero += advantage == 0 ? 1 : 0
            sum += advantage
            own += advantage
            count += 1
            advantageMax = max(advantageMax, abs(advantage))
            weight += credit.weights[t]
            weightSize += abs(credit.weights[t])
        }
        weights[credit.step, default: 0] += weight
        if let part = credit.staleness { staleness.add(part) }
        excludedByTeacher += credit.excludedByTeacher
        withoutSampler += credit.lacksSampler ? 1 : 0
        rejectedTokens += credit.rejected
        rejectedRows += credit.rejected > 0 && credit.rejected == count ? 1 : 0
        if let correct { if correct { right.add(own, count) } else { wrong.add(own, count) } }
    }

    mutating func addLeftOut(_ sampled: [Bool], _ mask: [Bool]) {
        endTokens += sampled.count { $0 } - mask.count { $0 }
    }

    mutating func add(_ next: PlanTally) {
        endTokens += next.endTokens
        positive += next.positive
        negative += next.negative
        zero += next.zero
        sum += next.sum
        advantageMax = max(advantageMax, next.advantageMax)
        weightSize += next.weightSize
        weights.merge(next.weights, uniquingKeysWith: +)
        staleness.add(next.staleness)
        excludedByTeacher += next.excludedByTeacher
        withoutSampler += next.withoutSampler
        rejectedTokens += next.rejectedTokens
        rejectedRows += next.rejectedRows
        right.add(next.right)
        wrong.add(next.wrong)
    }
}
