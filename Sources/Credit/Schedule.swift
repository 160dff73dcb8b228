/// How the plan's groups are dealt to optimizer steps.
package struct Schedule: Codable, Equatable, Sendable {
    package enum Order: String, Codable, CaseIterable, Sendable { case given, shuffled }

    /// null: all groups in one step.
    package var groupsPerStep: Int?
    /// Passes over the plan.
    package var epochs = 1
    package var order = Order.given

    package init() {}

    package var problems: [String] {
        var problems: [String] = []
        if let groupsPerStep, groupsPerStep < 1 { problems.append("schedule.groups_per_step is \(groupsPerStep); expected at least 1, or null for all") }
        if epochs < 1 { problems.append("schedule.epochs is \(epochs); expected at least 1") }
        return problems
    }

    /// The step of each of `groups` groups, in dump order.
    package func steps(groups: Int, seed: UInt64) -> [Int] {
        var places = Array(0..<groups)
        if order == .shuffled {
            var generator = SplitMix64(seed: seed)
            places.shuffle(using: &generator)
        }
        let size = groupsPerStep ?? max(1, groups)
        var steps = [Int](repeating: 0, count: groups)
        for (position, group) in places.enumerated() { steps[group] = position / size }
        return steps
    }
}

/// A small generator with a fixed definition, so that a seed means the same on every machine (Steele et al. 2014).
package struct SplitMix64: RandomNumberGenerator {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
