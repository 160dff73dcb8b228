import Randomness

/// Pairs of a correct and a wrong response of one group, for preference objectives: each correct response with the
/// wrong one of closest length that is least used so far.
package struct PreferencePairs: Codable, Equatable, Sendable {
    /// Most pairs of a group; null is no bound.
    package var perGroup: Int? = 4

    package init() {}

    package var problems: [String] { Bounds.problems("pairs.per_group", perGroup, Bounds.tokens, orNull: true) }

    /// Positions in the group, (chosen, rejected). Where there are more correct responses than pairs, `random` chooses;
    /// wrong responses of equally close length go by use, then by order.
    package func pairs(correct: [Bool?], lengths: [Int], random: inout SplitMix64) -> [(chosen: Int, rejected: Int)] {
        var winners = correct.indices.filter { correct[$0] == true }
        let losers = correct.indices.filter { correct[$0] == false }
        guard !losers.isEmpty else { return [] }
        if let perGroup, winners.count > perGroup {
            winners.shuffle(using: &random)
            winners = winners.prefix(perGroup).sorted()
        }
        var uses = [Int: Int]()
        return winners.map { winner in
            let closest = losers.min { a, b in
                let (nearA, nearB) = (abs(lengths[a] - lengths[winner]), abs(lengths[b] - lengths[winner]))
                return (nearA, uses[a] ?? 0, a) < (nearB, uses[b] ?? 0, b)
            }!
            uses[closest, default: 0] += 1
            return (winner, closest)
        }
    }
}
