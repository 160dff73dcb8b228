import Randomness

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
