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
        Bounds.problems("schedule.groups_per_step", groupsPerStep, Bounds.tokens, orNull: true)
            + Bounds.problems("schedule.epochs", epochs, Self.epochs)
    }

    /// More passes over one dump than anybody waits for.
    private static let epochs = 1...1_000_000

    /// Keys that have no effect beside the others, with what stands against them.
    package var unread: [String: String] {
        order == .shuffled && groupsPerStep == nil ? ["order": "without groups_per_step all groups are one step"] : [:]
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
