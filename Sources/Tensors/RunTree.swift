/// The runs of a forest and what follows what: for layers in which a token goes on from the state that the token before
/// it has left.
package struct RunTree: Sendable {
    /// Parents before children, a tree after the other.
    package let runs: [AttentionRun]
    /// Per run, runs above it.
    let depths: [Int]
    let children: [[Int]]
    /// Runs of each tree, its root first.
    let trees: [Range<Int>]
    /// Per token, the one before it; -1 at the beginning of a sequence.
    let previous: [Int]

    /// `runs`: as a forest lists them, each behind its parent and before its parent's next child; together all tokens.
    package init(_ runs: [AttentionRun]) {
        self.runs = runs
        var children = [[Int]](repeating: [], count: runs.count), roots: [Int] = []
        var previous = [Int](repeating: -1, count: runs.map(\.tokens.upperBound).max() ?? 0)
        let byStart = Dictionary(uniqueKeysWithValues: runs.enumerated().map { ($1.tokens.lowerBound, $0) })
        for (index, run) in runs.enumerated() {
            if let parent = run.prefix.last {
                children[byStart[parent.lowerBound] ?? 0].append(index)
            } else {
                roots.append(index)
            }
            for token in run.tokens {
                previous[token] =
                    token > run.tokens.lowerBound ? token - 1 : run.prefix.last.map { $0.upperBound - 1 } ?? -1
            }
        }
        self.children = children
        self.previous = previous
        depths = runs.map(\.prefix.count)
        trees = zip(roots, roots.dropFirst() + [runs.count]).map { $0..<$1 }
    }

    func depth(ofTree number: Int) -> Int { trees[number].map { depths[$0] }.max() ?? 0 }

    /// The last `taps` tokens up to `token`, the oldest first; -1 before the beginning.
    func path(to token: Int, taps: Int, into tokens: UnsafeMutablePointer<Int>) {
        var place = token
        for tap in (0..<taps).reversed() {
            tokens[tap] = place
            if place >= 0 { place = previous[place] }
        }
    }
}
