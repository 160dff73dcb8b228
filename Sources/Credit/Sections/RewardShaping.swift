/// The reward that a verdict is worth, before groups are compared.
package struct RewardShaping: Codable, Equatable, Sendable {
    /// What a correct and a wrong answer are worth. Both null: the score's own reward as it is. Only one null: 1 or 0.
    package var correct: Double?
    package var wrong: Double?
    package var overlong: OverlongPenalty?
    /// Names and weights of several rewards; null: the one of score alone.
    package var components: RewardComponents?

    package init() {}

    package var problems: [String] { verdictProblems + (components?.problems ?? []) }

    private var verdictProblems: [String] {
        guard correct != nil || wrong != nil, (correct ?? 1) <= (wrong ?? 0) else { return [] }
        return [
            "reward.correct is \(correct ?? 1) and reward.wrong \(wrong ?? 0); expected a right answer to be worth more than a wrong one"
        ]
    }

    /// `named`: what others than score's own reward say.
    package func reward(score: Double, isCorrect: Bool?, length: Int, named: [String: Double] = [:]) -> Double {
        let own = base(score, isCorrect)
        let reward = components.map { $0.sum($0.values(own: own, named: named)) } ?? own
        return reward + (overlong?.penalty(length: length) ?? 0)
    }

    /// By the names' order, NaN where there is none; empty where the recipe names none.
    package func componentValues(score: Double, isCorrect: Bool?, named: [String: Double]) -> [Double] {
        components?.values(own: base(score, isCorrect), named: named) ?? []
    }

    /// A row with a reward but no verdict keeps its reward.
    private func base(_ score: Double, _ isCorrect: Bool?) -> Double {
        guard let isCorrect, correct != nil || wrong != nil else { return score }
        return isCorrect ? correct ?? 1 : wrong ?? 0
    }
}

/// DAPO's soft length penalty: 0 up to `max_length - cache_length` trainable tokens (EOS included), then falling in a
/// line to -factor at `max_length`, and -factor beyond; `floor: false` lets it fall on, as verl's code does. With
/// `cache_length` 0 it is a hard step.
package struct OverlongPenalty: Codable, Equatable, Sendable {
    /// L_max and L_cache of the paper.
    package var maxLength = 20480
    package var cacheLength = 4096
    package var factor = 1.0
    package var floor = true

    package init() {}

    package var problems: [String] {
        var problems: [String] = []
        problems += Bounds.problems("reward.overlong.max_length", maxLength, Bounds.tokens)
        if !(0...max(0, maxLength)).contains(cacheLength) {
            problems.append("reward.overlong.cache_length is \(cacheLength); expected 0 to max_length")
        }
        if !(factor >= 0) {
            problems.append("reward.overlong.factor is \(factor); expected 0 or more: below, length would be rewarded")
        }
        return problems
    }

    /// Keys that have no effect beside the others, with what stands against them.
    package var unread: [String: String] {
        cacheLength == 0 && !floor ? ["floor": "with cache_length 0 the penalty is one step"] : [:]
    }

    package func penalty(length: Int) -> Double {
        guard cacheLength > 0 else { return length > maxLength ? -factor : 0 }
        let excess = length - (maxLength - cacheLength)
        return excess <= 0 ? 0 : max(floor ? -1 : -.infinity, -Double(excess) / Double(cacheLength)) * factor
    }
}
