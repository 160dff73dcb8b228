/// Losses that recipes may name as `objective.type`.
package enum ObjectiveRegistry {
    /// Sorted by name. A newcomer: one file, one line here; the tests over this list cover it.
    package static let all: [any Objective.Type] = [
        CISPO.self,
        ClipCov.self,
        ETPOPolicy.self,
        ETPOQ.self,
        GSPO.self,
        HDPO.self,
        KLCov.self,
        NLL.self,
        PPOClip.self,
        PRIMECrossEntropy.self,
        ValueLoss.self,
    ]
}
