/// Picks a rollout's forks: the K content tokens with the highest score, lower position first among equals, at least
/// `gap` apart; returned in order of position.
///
/// The response's first token is never one: the prefix before it is the prompt itself, which is rolled out again anyway.
func anchors(scores: [Float], eligible: [Int], count: Int, gap: Int) -> [Int] {
    var chosen: [Int] = []
    for position in eligible.sorted(by: { scores[$0] != scores[$1] ? scores[$0] > scores[$1] : $0 < $1 }) {
        if chosen.count == count { break }
        if chosen.allSatisfy({ abs($0 - position) >= gap }) { chosen.append(position) }
    }
    return chosen.sorted()
}
