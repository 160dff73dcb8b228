/// From the shaped rewards of one group to one advantage per rollout, broadcast over its tokens. The conforming struct's
/// properties are the recipe's keys. Arithmetic in Double; sums run in dump order.
package protocol AdvantageEstimator: Codable, Sendable {
    static var name: String { get }
    static var source: String { get }
    init()
    var problems: [String] { get }
    /// nil drops the rollout, with `dropReason`.
    func advantages(rewards: [Double]) -> [Double?]
    static var dropReason: String { get }
}

extension AdvantageEstimator {
    package var problems: [String] { [] }
    package static var dropReason: String { "no_advantage" }
}

package enum AdvantageRegistry {
    /// Sorted by name. A newcomer: one file, one line here; the tests over this list cover it.
    package static let all: [any AdvantageEstimator.Type] = [
        GroupNormalized.self,
        PositiveReward.self,
        RawReward.self,
        LeaveOneOut.self,
    ]
}

/// What a group of a single rollout gets, where the estimator compares within the group.
package enum GroupOfOne: String, Codable, CaseIterable, Sendable {
    /// Nothing to compare with (TRL).
    case zero
    /// The reward itself (verl).
    case raw
}
