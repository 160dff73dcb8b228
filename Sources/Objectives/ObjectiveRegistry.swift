/// Losses that recipes may name as `objective.type`.
package enum ObjectiveRegistry {
    /// Sorted by name. A newcomer: one file, one line here; the tests over this list cover it.
    package static let all: [any Objective.Type] = [
        CEGPPO.self,
        CISPO.self,
        ClipCov.self,
        Distill.self,
        DPPO.self,
        DRO.self,
        ETPOPolicy.self,
        ETPOQ.self,
        FIPO.self,
        GMPO.self,
        GSPO.self,
        HDPO.self,
        KLCov.self,
        NLL.self,
        PPOClip.self,
        PRIMECrossEntropy.self,
        SAPO.self,
        TOPR.self,
        ValueLoss.self,
        VESPO.self,
    ]
}
