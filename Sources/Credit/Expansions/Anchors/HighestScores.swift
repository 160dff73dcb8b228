extension BaseRollout {
    /// Sampled tokens behind the response's first.
    func forks(sparing answer: Range<Int>) -> [Int] {
        content.dropFirst().filter { mask[$0] && !answer.contains($0) }
    }
}

/// The `count` positions with the highest score, the lower one first among equals, at least `gap` apart; ascending.
/// None where no scores are known.
func highest(_ scores: [Float], of eligible: [Int], count: Int, gap: Int) -> [Int] {
    guard !scores.isEmpty else { return [] }
    var chosen: [Int] = []
    for position in eligible.sorted(by: { scores[$0] != scores[$1] ? scores[$0] > scores[$1] : $0 < $1 }) {
        if chosen.count == count { break }
        if chosen.allSatisfy({ abs($0 - position) >= gap }) { chosen.append(position) }
    }
    return chosen.sorted()
}
