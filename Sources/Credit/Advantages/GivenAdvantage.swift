/// The advantages that the dump has, token by token, as the trainer that wrote it made them. They are taken as they
/// are: rewards, where there are any, are looked at by filters alone.
package struct GivenAdvantage: AdvantageEstimator {
    package static let name = "given"
    package static let source = "the dump's column advantages"

    package init() {}

    package var columns: Set<TokenColumn> { [.advantages] }
    package var readsRewards: Bool { false }
    package var caveats: [String] {
        ["advantages are those that the dump gives: of rewards only filters and reports take notice"]
    }

    package func credit(_ group: [Episode], plan: [Double]) -> [EpisodeCredit?] {
        group.map { EpisodeCredit(advantages: $0.spread($0.numbers(.advantages))) }
    }
}
