import Randomness

/// S-GRPO: cuts a response's thinking short at several places, has the answer given there, and rewards the earliest
/// right exits most: 1, 1/2, 1/4, … for the first, second, third correct one. A = r - mean(r) over the exits and the
/// full response.
package struct SGRPO: Expansion {
    package static let name = "s_grpo"
    package static let source = "S-GRPO, arXiv 2505.07686"

    /// One draw in each of m equal chunks of the thinking, m draws from all of it, or evenly from a tenth to nine
    /// tenths.
    package enum Positions: String, Codable, CaseIterable, Sendable { case stratified, uniform, even }
    /// Which tokens of an exit are trained on; the injected text never is.
    package enum Trained: String, Codable, CaseIterable, Sendable {
        case thoughtAndAnswer = "thought_and_answer"
        case answer
    }

    /// m
    package var exits = 8
    package var positions = Positions.stratified
    /// What ends the thinking of a full response.
    package var thoughtEnd = "</think>"
    /// What an exit puts behind the cut.
    package var inducer = "Time is limited, stop thinking and start answering.\n</think>\n\n"
    package var trained = Trained.thoughtAndAnswer
    package var maxTokens: Int?

    package init() {}

    package var replicates: Int { 1 }
    package var readsText: Bool { true }
    package var rewardsByVerdict: Bool { true }
    package var trainsBases: Bool { true }
    package var trainsPrefixes: Bool { trained == .thoughtAndAnswer }

    package var problems: [String] {
        commonProblems + Bounds.problems("expansion.exits", exits, Bounds.branches)
            + (thoughtEnd.isEmpty ? ["expansion.thought_end is empty; expected the text that ends the thinking"] : [])
    }

    package func thoughtEnd(of base: BaseRollout) -> Int? {
        guard let text = base.text, let end = text.firstRange(of: thoughtEnd) else { return nil }
        return base.responseStart + text.token(holding: end.lowerBound)
    }

    package func states(of base: BaseRollout, seed: UInt64, encode: (String) -> [Int32]) -> [ExpansionState] {
        var random = SplitMix64(seed: seed)
        let injected = encode(inducer), start = base.responseStart
        // Without an end the whole response is thinking.
        return cuts((thoughtEnd(of: base) ?? base.content.upperBound) - start, &random).map {
            ExpansionState(position: start + $0, injected: injected)
        }
    }

    /// Lengths of thinking to keep, 1 to n-1, ascending, each once; all of them where there are no more than m.
    func cuts(_ n: Int, _ random: inout SplitMix64) -> [Int] {
        let m = exits, last = n - 1
        guard last >= 1 else { return [] }
        guard n > m else { return Array(1...last) }
        let drawn = (0..<m).map { i -> Int in
            switch positions {
            case .stratified: Int.random(in: 1 + i * last / m...(i + 1) * last / m, using: &random)
            case .uniform: 1 + Int(random.uniform() * Double(last))
            case .even: Int((Double(n) * (m == 1 ? 0.5 : 0.1 + 0.8 * Double(i) / Double(m - 1))).rounded())
            }
        }
        return Set(drawn.map { min(max($0, 1), last) }).sorted()
    }

    package func credit(_ expanded: ExpandedBase) -> ExpansionCredit {
        let base = expanded.base
        var credit = ExpansionCredit()
        let exits = zip(expanded.states, expanded.outcomes).flatMap { state, outcomes in
            outcomes.map { (outcome: $0, mask: mask($0, state, base)) }
        }
        let isBaseCorrect = base.thoughtEnd != nil && (base.correct ?? (base.reward > 0))
        let full = expanded.isBaseRejected ? [] : [isBaseCorrect]
        let rewards = Self.rewards(correct: exits.map { $0.outcome.correct ?? ($0.outcome.reward > 0) } + full)
        let mean = rewards.reduce(0, +) / Double(max(1, rewards.count))
        let baseMask =
            trained == .answer
            ? base.mask.indices.map { base.mask[$0] && $0 >= base.thoughtEnd ?? base.responseEnd } : base.mask
        let rows = exits.map { (row: $0.outcome.row, mask: $0.mask) } + [(row: expanded.row, mask: baseMask)]
        credit.rows = zip(rows, rewards).map {
            CreditedRow(row: $0.row, groupID: base.id, reward: $1, mask: $0.mask, advantage: $1 - mean)
        }
        credit.values = rewards
        return credit
    }

    /// The answer's tokens, and those of the thinking before the cut.
    private func mask(_ outcome: Outcome, _ state: ExpansionState, _ base: BaseRollout) -> [Bool] {
        guard trained == .thoughtAndAnswer else { return outcome.mask }
        return outcome.mask.indices.map { $0 < state.position ? base.mask[$0] : outcome.mask[$0] }
    }

    /// Halved with every correct exit before: r_i = 2^-(N-1) with N correct ones up to and with i; 0 where wrong.
    package static func rewards(correct: [Bool]) -> [Double] {
        var reward = 2.0
        return correct.map { isCorrect in
            guard isCorrect else { return 0 }
            reward /= 2
            return reward
        }
    }
}
