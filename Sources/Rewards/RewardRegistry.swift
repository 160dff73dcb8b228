/// Rewards of ours that `crux-score --reward` may name.
package enum RewardRegistry {
    /// Sorted by name. A newcomer: one file, one line here; the tests over this list cover it.
    package static let all: [any RewardFunction.Type] = [
        AutomaticReward.self,
        DapoMath.self,
        DapoMathStrict.self,
        GSM8K.self,
        GSM8KFlexible.self,
        GivenReward.self,
        MathReward.self,
        NumericReward.self,
    ]

    package static var names: [String] { all.map { $0.name } }

    package static func named(_ name: String) -> (any RewardFunction)? { all.first { $0.name == name }?.init() }
}
