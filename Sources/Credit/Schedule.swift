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

    /// Steps of `groups` groups, in dump order.
    package func steps(groups: Int, seed: UInt64) -> Steps {
        let size = groupsPerStep ?? max(1, groups)
        guard order == .shuffled else { return Steps(size: size, places: nil) }
        var generator = SplitMix64(seed: seed), dealt = (0..<Int32(groups)).map { $0 }
        dealt.shuffle(using: &generator)
        var places = dealt
        for (place, group) in dealt.enumerated() { places[Int(group)] = Int32(place) }
        return Steps(size: size, places: places)
    }

    /// The step of each group.
    package struct Steps: Sendable {
        fileprivate let size: Int
        /// Of each group among those that are dealt; nil: as they come.
        fileprivate let places: [Int32]?

        package subscript(group: Int) -> Int { (places.map { Int($0[group]) } ?? group) / size }
    }
}
