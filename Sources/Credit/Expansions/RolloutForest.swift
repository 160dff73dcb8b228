/// Which of a group's rollouts was sampled from which, by their places in the group. A rollout stands behind the one that
/// it left.
struct Lineage {
    /// Place of the rollout that each one left; nil where it began at the prompt.
    let parents: [Int?]
    /// Where others left each one, ascending, each place once.
    let cuts: [[Int]]

    init(_ group: [BaseRollout]) {
        var places: [String: Int] = [:], parents: [Int?] = [], cuts = group.map { _ in Set<Int>() }
        for (place, base) in group.enumerated() {
            let parent = base.branch.flatMap { places[$0.parent] }
            if let parent, let branch = base.branch { cuts[parent].insert(branch.position) }
            parents.append(parent)
            places[base.id] = place
        }
        (self.parents, self.cuts) = (parents, cuts.map { $0.sorted() })
    }

    /// Rollouts with all that was sampled from them: a tree for each that began at the prompt.
    var trees: [[Int]] {
        var roots: [Int] = [], trees: [[Int]] = [], tree: [Int: Int] = [:]
        for (place, parent) in parents.enumerated() {
            roots.append(parent.map { roots[$0] } ?? place)
            let number = tree[roots[place], default: trees.count]
            if number == trees.count { trees.append([]) }
            tree[roots[place]] = number
            trees[number].append(place)
        }
        return trees
    }
}

/// A prompt's rollouts, their branches and these branches' own as trees: a node is where a row was cut, a leaf where it
/// ends. A node is worth the mean of the leaves below it.
struct RolloutForest {
    struct Node {
        /// Index of the first token behind the stretch that leads to it.
        let end: Int
        /// nil where no leaf is below.
        let value: Double?
        let leaves: Int
    }

    private struct Sum {
        var worth = 0.0
        var leaves = 0

        mutating func add(_ other: Sum) { (worth, leaves) = (worth + other.worth, leaves + other.leaves) }
    }

    private let lineage: Lineage
    /// By base: where it was cut, ascending.
    private var cuts: [[Int]]
    /// By base: what hangs on each cut, without what is further on.
    private var hanging: [[Int: Sum]]
    /// By base: its own end.
    private let own: [Sum]
    private let starts: [Int]
    let worth: (Double) -> Double

    /// `worth`: of a leaf by its reward.
    init(_ group: [ExpandedBase], worth: @escaping (Double) -> Double) {
        self.worth = worth
        lineage = Lineage(group.map(\.base))
        own = group.map { $0.isBaseRejected ? Sum() : Sum(worth: worth($0.base.reward), leaves: 1) }
        starts = group.map { $0.base.branch?.position ?? 0 }
        hanging = group.map { expanded in
            var sums: [Int: Sum] = [:]
            for (state, outcomes) in zip(expanded.states, expanded.outcomes) {
                let sum = Sum(worth: outcomes.reduce(0) { $0 + worth($1.reward) }, leaves: outcomes.count)
                sums[state.position, default: Sum()].add(sum)
            }
            return sums
        }
        // A rollout's own branches are counted before it is hung on the one that it left.
        for base in group.indices.reversed() {
            guard let parent = lineage.parents[base] else { continue }
            var all = own[base]
            for cut in hanging[base].keys.sorted() { all.add(hanging[base][cut] ?? Sum()) }
            hanging[parent][starts[base], default: Sum()].add(all)
        }
        cuts = hanging.map { $0.keys.sorted() }
    }

    /// The node that a base's tokens before `end` lead to.
    func node(of base: Int, endingAt end: Int) -> Node {
        var below = own[base]
        // In order, so that sums are the same each time.
        for cut in cuts[base] where cut >= end { below.add(hanging[base][cut] ?? Sum()) }
        return Node(
            end: end, value: below.leaves == 0 ? nil : below.worth / Double(below.leaves), leaves: below.leaves)
    }

    /// Nodes from the prompt to a place in a base's tokens, through the rollouts that it left.
    func path(of base: Int, upTo end: Int) -> [Node] {
        let parent = lineage.parents[base], before = parent.map { path(of: $0, upTo: starts[base]) } ?? []
        return before
            + cuts[base].filter { $0 <= end && (parent == nil || $0 > starts[base]) }.map {
                node(of: base, endingAt: $0)
            }
    }
}
