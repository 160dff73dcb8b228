package enum AdvantageRegistry {
    /// Sorted by name. A newcomer: one file, one line here; the tests over this list cover it.
    package static let all: [any AdvantageEstimator.Type] = [
        ETPOMonteCarlo.self,
        ETPOBellman.self,
        GAE.self,
        GDPO.self,
        GiGPO.self,
        GivenAdvantage.self,
        GRPO.self,
        GTPO.self,
        NoAdvantage.self,
        OPO.self,
        OptimalTokenBaseline.self,
        PassAtK.self,
        PositiveReward.self,
        PRIME.self,
        RawReward.self,
        ReinforcePlusPlus.self,
        ReinforcePlusPlusBaseline.self,
        ReMax.self,
        RLOO.self,
    ]
}
