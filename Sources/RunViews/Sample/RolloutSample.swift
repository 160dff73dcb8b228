import Formats
import Randomness

/// What a reader may want to see of a dump. Each has members in a sample, if the dump has any.
package enum RolloutFilter: String, CaseIterable, Codable, Sendable {
    /// Whole groups, drawn by lot.
    case groups
    case right
    case wrong
    case unjudged
    /// Left out by the first plan.
    case dropped
    case longest
    /// Highest mean entropy.
    case uncertain
    /// Largest difference between a token's log-probabilities under trainer and sampler.
    case mismatch
    /// The most tokens that only one of two plans keeps.
    case plans

    /// How much a rollout belongs there, larger before smaller; nil where it doesn't.
    fileprivate func key(_ view: RolloutView) -> Double? {
        switch self {
        case .groups: lot(view.rollout.groupID)
        case .right: view.score.correct == true ? lot(view.rollout.rolloutID) : nil
        case .wrong: view.score.correct == false ? lot(view.rollout.rolloutID) : nil
        case .unjudged: view.score.correct == nil ? lot(view.rollout.rolloutID) : nil
        case .dropped: view.entries.first?.dropReason == nil ? nil : lot(view.rollout.rolloutID)
        case .longest: Double(view.rollout.tokenIDs.count)
        case .uncertain: view.meanEntropy
        case .mismatch: view.samplerDifferences.max().flatMap { $0 > 0 ? Double($0) : nil }
        case .plans: partedTokens(view)
        }
    }

    private func partedTokens(_ view: RolloutView) -> Double? {
        guard view.entries.count == 2 else { return nil }
        let count = PlanComparisonTally.differingTokens(view, view.entries[0], view.entries[1])
        return count > 0 ? Double(count) : nil
    }

    /// As good as drawn by chance, and the same on every run: 64-bit FNV-1a of the name, mixed.
    private func lot(_ name: String) -> Double {
        let offset: UInt64 = 0xcbf2_9ce4_8422_2325, prime: UInt64 = 0x100_0000_01b3
        var generator = SplitMix64(seed: name.utf8.reduce(offset) { ($0 ^ UInt64($1)) &* prime })
        return generator.uniform()
    }
}

extension RolloutView {
    /// Nats, over trainable tokens; nil where entropies are unknown.
    package var meanEntropy: Double? {
        guard let entropy = score.entropy else { return nil }
        var mean = Mean()
        for t in trainable { mean.add(Double(entropy[t])) }
        return mean.value
    }
}

/// Some rollouts of a dump, chosen so that each filter has members: the filters take turns, each giving its next one,
/// until there are enough rollouts or tokens.
package struct RolloutSample: Sendable {
    private struct Candidate: Sendable {
        let key: Double
        let row: Int
        let tokens: Int

        static func isBefore(_ one: Candidate, _ two: Candidate) -> Bool {
            one.key == two.key ? one.row < two.row : one.key > two.key
        }
    }

    private let limit: Int
    private var candidates: [[Candidate]]

    /// `limit`: most rollouts.
    package init(limit: Int) {
        self.limit = limit
        candidates = RolloutFilter.allCases.map { _ in [] }
    }

    package mutating func add(_ view: RolloutView) {
        for (filter, kind) in RolloutFilter.allCases.enumerated() {
            guard let key = kind.key(view) else { continue }
            candidates[filter].append(Candidate(key: key, row: view.number, tokens: view.rollout.tokenIDs.count))
            trim(filter, above: 2 * limit)
        }
    }

    /// What comes after in the dump.
    package mutating func add(_ next: RolloutSample) {
        for filter in candidates.indices {
            candidates[filter] += next.candidates[filter]
            trim(filter, above: 2 * limit)
        }
    }

    private mutating func trim(_ filter: Int, above most: Int) {
        guard candidates[filter].count > most else { return }
        candidates[filter].sort(by: Candidate.isBefore)
        candidates[filter].removeLast(candidates[filter].count - limit)
    }

    /// Rows in the dump's order. `tokens`: most of all of them together; the first rollout is always there.
    package func rows(tokens: Int) -> [Int] {
        let queues = candidates.map { $0.sorted(by: Candidate.isBefore) }
        var chosen: Set<Int> = [], left = tokens
        for place in 0..<(queues.map(\.count).max() ?? 0) {
            for queue in queues where place < queue.count && !chosen.contains(queue[place].row) {
                guard chosen.count < limit, chosen.isEmpty || queue[place].tokens <= left else { continue }
                chosen.insert(queue[place].row)
                left -= queue[place].tokens
            }
        }
        return chosen.sorted()
    }
}
